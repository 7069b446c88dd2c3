"""Commands and environments, for each launcher."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine.arguments import worker_argv
from lfwrap.errors import UsageError
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile, choose_world_size
from lfwrap.masking import is_secret, mask_override, mask_secrets
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.command import Command, override_arguments
from lfwrap.run.launch.launch import choose_devices
from lfwrap.run.launch.launchers.base import LaunchRequest
from lfwrap.run.launch.launchers.registry import LAUNCHERS, choose_launcher
from lfwrap.units import GIB
from lfwrap.yaml_files import parse_scalar

TRAIN = " ".join(worker_argv("train_engine"))
ENGINE = fake_engine()
REQUEST = LaunchRequest(
    ENGINE, RunPaths(Path("/r")), Path("/work"), world_size=2, port=1234, environment={"LFWRAP_RUN": "/r"}
)


def test_one_process_is_the_script_and_the_yaml() -> None:
    command = LAUNCHERS["process"].build(dataclasses.replace(REQUEST, world_size=1, arguments=("a=b",)))
    assert command.argv == ("/e/bin/python", *worker_argv("train_engine"), "/r/engine.yaml", "a=b")
    assert command.environment == {"LFWRAP_RUN": "/r"}


def test_torchrun_gets_count_and_port() -> None:
    command = LAUNCHERS["torchrun"].build(REQUEST)
    assert command.quoted == (
        "/e/bin/python -m torch.distributed.run --nproc_per_node 2 --nnodes 1 --node_rank 0 --master_addr 127.0.0.1"
        f" --master_port 1234 {TRAIN} /r/engine.yaml"
    )
    assert command.environment == REQUEST.environment


def test_deepspeed_never_puts_its_rank_before_the_yaml() -> None:
    command = LAUNCHERS["deepspeed"].build(REQUEST)
    assert "--no_local_rank" in command.argv
    assert command.quoted.endswith(f"--num_gpus 2 --master_addr 127.0.0.1 --master_port 1234 {TRAIN} /r/engine.yaml")


def test_deepspeed_takes_chosen_gpus_by_its_own_option() -> None:
    shown = {"CUDA_VISIBLE_DEVICES": "1,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    request = dataclasses.replace(REQUEST, on_gpu=True, devices="1,3", environment=shown)
    command = LAUNCHERS["deepspeed"].build(request)
    assert "--include localhost:1,3" in command.quoted
    assert command.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize("name", [name for name, launcher in LAUNCHERS.items() if not launcher.is_scheduler])
def test_the_runs_own_variables_are_always_added(name: str) -> None:
    assert LAUNCHERS[name].build(REQUEST).environment["LFWRAP_RUN"] == "/r"
    assert LAUNCHERS[name].name == name


@pytest.mark.parametrize(
    ("world_size", "uses_deepspeed", "expected"), [(1, False, "process"), (2, False, "torchrun"), (1, True, "torchrun")]
)
def test_auto_takes_the_simplest_that_does(world_size: int, uses_deepspeed: bool, expected: str) -> None:
    assert choose_launcher("auto", world_size=world_size, uses_deepspeed=uses_deepspeed).name == expected


@pytest.mark.parametrize(("world_size", "uses_deepspeed"), [(2, False), (1, True)])
def test_one_process_can_not_be_several(world_size: int, uses_deepspeed: bool) -> None:
    with pytest.raises(UsageError, match="--launcher process"):
        choose_launcher("process", world_size=world_size, uses_deepspeed=uses_deepspeed)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("hf_hub_token", True),
        ("WANDB_API_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("DB_PASSWORD", True),
        ("tokenized_path", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("include_num_input_tokens_seen", False),
        ("CUDA_VISIBLE_DEVICES", False),
    ],
)
def test_secrets_are_told_by_their_names(name: str, secret: bool) -> None:
    assert is_secret(name) is secret
    assert mask_secrets({name: "v"}) == {name: "***" if secret else "v"}
    assert mask_override(f"{name}=v") == f"{name}={'***' if secret else 'v'}"


def test_a_shown_command_can_be_pasted_into_a_shell() -> None:
    command = Command(("py", "a b.yaml"), Path("/w"), {"X": "1 2", "HF_TOKEN": "abc"})
    assert command.quoted == "py 'a b.yaml'"
    assert command.quoted_environment == "X='1 2' HF_TOKEN='***'"
    assert "abc" not in str(command.to_json())


def test_overrides_are_spelled_as_the_engine_reads_them() -> None:
    assert override_arguments({"a": True, "b": "/c/d-1", "d": 1}) == ["a=true", "b=/c/d-1", "d=1"]


@pytest.mark.parametrize("path", ["/my runs/a: b #1/checkpoint-3", "/it's/x", "/中文/{a}"])
def test_odd_paths_reach_the_engine_as_text(path: str) -> None:
    (argument,) = override_arguments({"resume_from_checkpoint": Path(path)})
    key, _, value = argument.partition("=")
    assert (key, parse_scalar(value)) == ("resume_from_checkpoint", path)


def gpus(*free_gib: int) -> HardwareProfile:
    found = tuple(Gpu("H", 80 * GIB, free_bytes=free * GIB) for free in free_gib)
    return HardwareProfile("auto", DeviceKind.CUDA if found else DeviceKind.CPU, found)


@pytest.mark.parametrize(
    ("free", "count", "visible", "expected"),
    [
        ((80, 80), 2, None, None),
        ((10, 80, 70), 1, None, "1"),
        ((10, 80, 70), 2, None, "1,2"),
        ((10, 80), 1, "4,6", "6"),
        ((80, 80), 1, "GPU-a,GPU-b", "GPU-a"),
        ((10, 80, 20), 2, "MIG-a, MIG-b,,MIG-c", "MIG-b,MIG-c"),
        ((80, 80), 2, "2,3", "2,3"),
        ((), 1, None, None),
        ((), 2, None, None),
    ],
)
def test_the_freest_gpus_are_taken_among_the_visible(
    free: tuple[int, ...], count: int, visible: str | None, expected: str | None
) -> None:
    assert choose_devices(gpus(*free), count, visible) == expected


def test_gpus_are_hidden_when_the_cpu_is_asked_for() -> None:
    assert choose_devices(HardwareProfile("cpu", DeviceKind.CPU), 1, None) == ""


def test_more_gpus_than_there_are_is_a_usage_error() -> None:
    assert choose_world_size(None, gpus(80, 80)) == 2
    assert choose_world_size(1, gpus(80, 80)) == 1
    assert choose_world_size(2, gpus()) == 2
    with pytest.raises(UsageError, match="--gpus 3"):
        choose_world_size(3, gpus(80, 80))
