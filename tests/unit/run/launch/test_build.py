"""What lfwrap adds to the environment of a training's processes, whatever the launcher."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine import environment
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.invocation import Invocation
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.launch import build
from lfwrap.run.launch.build import attempt_environment, build_command, training_environment
from lfwrap.run.launch.launch import LaunchOptions, TrainingStart
from lfwrap.run.launch.launchers.nodes import Nodes
from lfwrap.run.launch.launchers.registry import LAUNCHERS
from lfwrap.units import GIB

CPU = HardwareProfile("auto", DeviceKind.CPU, cpu_cores=8)
THREE_GPUS = HardwareProfile(
    "auto", DeviceKind.CUDA, tuple(Gpu("H", 80 * GIB, free_bytes=n * GIB) for n in (9, 80, 70))
)
SET_BY_HAND = {"OMP_WAIT_POLICY": "ACTIVE", "PYTORCH_CUDA_ALLOC_CONF": "x"}


def added(launcher="torchrun", hardware=CPU, world_size=2, *, nodes=Nodes(), values=None, environ=SET_BY_HAND):  # noqa: B008
    start = TrainingStart(
        paths=RunPaths(Path("/r")),
        launcher=LAUNCHERS[launcher],
        engine=None,
        hardware=hardware,
        world_size=world_size,
        batch=BatchPlan(2, 4, world_size),
        options=LaunchOptions(nodes),
        values=values or {},
    )
    return training_environment(start, environ)


def test_one_process_on_a_cpu_gets_the_engines_variables_and_the_run() -> None:
    assert added("process", world_size=1) == {
        "PYTHONUTF8": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "LFWRAP_RUN": "/r",
    }


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "ray"])
def test_several_processes_share_the_cpu_or_get_the_engines_own_setting_for_gpus(launcher: str) -> None:
    assert added(launcher)["OMP_NUM_THREADS"] == "4"
    on_gpus = added(launcher, THREE_GPUS)
    assert on_gpus["TORCH_NCCL_AVOID_RECORD_STREAMS"] == "1"
    assert "OMP_NUM_THREADS" not in on_gpus


def test_the_devices_with_most_memory_free_are_shown_as_the_driver_counts_them() -> None:
    shown = added(hardware=THREE_GPUS)
    assert (shown["CUDA_VISIBLE_DEVICES"], shown["CUDA_DEVICE_ORDER"], shown["RECORD_VRAM"]) == (
        "1,2",
        "PCI_BUS_ID",
        "1",
    )
    by_uuid = added(hardware=THREE_GPUS, environ={**SET_BY_HAND, "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,GPU-c"})
    assert by_uuid["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-c"
    assert "CUDA_DEVICE_ORDER" not in by_uuid


def test_processes_that_may_be_started_again_know_the_batch_to_keep() -> None:
    restarts = added(nodes=Nodes(max_restarts=2))["LFWRAP_RESTART"]
    assert json.loads(restarts) == {"micro": 2, "effective": 16, "output": "/r/output"}
    assert "LFWRAP_RESTART" not in added()


def test_deepspeed_on_a_cpu_is_told_so() -> None:
    assert added(values={"deepspeed": "ds.json", "use_cpu": True})["LFWRAP_DEEPSPEED_ON_CPU"] == "1"


def test_each_start_names_its_folder() -> None:
    folder = AttemptPaths(Path("/r/attempts/0"))
    assert attempt_environment(folder, show_example=False, probe=True) == {"LFWRAP_ATTEMPT": "/r/attempts/0"}
    assert attempt_environment(folder, show_example=True, probe=False) == {
        "LFWRAP_ATTEMPT": "/r/attempts/0",
        "LFWRAP_SHOW_EXAMPLE": "1",
        "LFWRAP_NO_PROBE": "1",
    }


@pytest.mark.parametrize(
    ("hardware", "busy", "environ", "expected"),
    [
        (CPU, False, {}, None),
        (CPU, True, {}, "PASSIVE"),
        (CPU, True, {"OMP_WAIT_POLICY": "ACTIVE"}, None),
        (THREE_GPUS, True, {}, None),
    ],
)
def test_threads_sleep_at_barriers_when_others_are_busy(
    hardware: HardwareProfile,
    busy: bool,
    environ: Mapping[str, str],
    expected: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "machine_was_busy", lambda: busy)
    assert added("process", hardware, 1, environ=environ).get("OMP_WAIT_POLICY") == expected


ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
WAYS = [("process", 1), ("torchrun", 2), ("deepspeed", 2), ("ray", 2)]


def of_command(folder, environ, machine="h100-80gb", launcher="process", world_size=1):
    """What the launcher's command adds."""
    hardware, engine = load_hardware(machine), fake_engine()
    start = TrainingStart(RunPaths(folder), LAUNCHERS[launcher], engine, hardware, world_size)
    return build_command(start, Invocation(folder, environ)).environment


def on_linux(monkeypatch, release="6.1.0-18-amd64"):
    monkeypatch.setattr(build.sys, "platform", "linux")
    monkeypatch.setattr(build.platform, "release", lambda: release)


@pytest.mark.parametrize(("launcher", "world_size"), WAYS)
def test_segments_grow(tmp_path, monkeypatch, launcher, world_size):
    on_linux(monkeypatch)
    added = of_command(tmp_path, {}, launcher=launcher, world_size=world_size)
    assert added[ALLOCATOR] == "expandable_segments:True"


@pytest.mark.parametrize(("launcher", "world_size"), WAYS)
@pytest.mark.parametrize("name", [ALLOCATOR, "PYTORCH_ALLOC_CONF"])
def test_what_the_person_has_set_stays(tmp_path, monkeypatch, name, launcher, world_size):
    on_linux(monkeypatch)
    environ = {name: "max_split_size_mb:512"}
    assert ALLOCATOR not in of_command(tmp_path, environ, launcher=launcher, world_size=world_size)


def test_no_setting_where_the_driver_has_no_virtual_memory(tmp_path, monkeypatch):
    on_linux(monkeypatch, "5.15.90.1-microsoft-standard-WSL2")
    assert ALLOCATOR not in of_command(tmp_path, {})
    monkeypatch.setattr(build.sys, "platform", "win32")
    assert ALLOCATOR not in of_command(tmp_path, {})


def test_no_setting_without_a_gpu(tmp_path, monkeypatch):
    on_linux(monkeypatch)
    assert ALLOCATOR not in of_command(tmp_path, {}, "cpu")
