"""What lfwrap adds to the environment of a training's processes, whatever the launcher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.launch.build import attempt_environment, training_environment
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
