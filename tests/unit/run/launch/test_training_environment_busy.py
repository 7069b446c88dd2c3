"""Trainings on a CPU spin at barriers only where nobody else wants the cores."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from lfwrap.engine import environment
from lfwrap.hardware import host_facts
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.build import training_environment
from lfwrap.run.launch.launch import TrainingStart
from lfwrap.run.launch.launchers.registry import LAUNCHERS
from lfwrap.units import GIB

CPU = HardwareProfile("auto", DeviceKind.CPU, cpu_cores=8)
GPU = HardwareProfile("auto", DeviceKind.CUDA, (Gpu("H", 80 * GIB),))


def policy(hardware: HardwareProfile, folder: Path, environ: Mapping[str, str]) -> str | None:
    start = TrainingStart(RunPaths(folder), LAUNCHERS["process"], None, hardware)
    return training_environment(start, environ).get("OMP_WAIT_POLICY")


@pytest.mark.parametrize(
    ("hardware", "busy", "environ", "expected"),
    [
        (CPU, False, {}, None),
        (CPU, True, {}, "PASSIVE"),
        (CPU, True, {"OMP_WAIT_POLICY": "ACTIVE"}, None),
        (GPU, True, {}, None),
    ],
)
def test_threads_sleep_at_barriers_when_others_are_busy(  # noqa: PLR0917 - a table's columns and two fixtures
    hardware: HardwareProfile,
    busy: bool,
    environ: Mapping[str, str],
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "machine_was_busy", lambda: busy)
    assert policy(hardware, tmp_path, environ) == expected


def test_a_busy_program_is_seen() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            assert host_facts.has_busy_neighbours(look_s=1.0)
        finally:
            busy.kill()


def test_an_idle_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = psutil.cpu_times()
    monkeypatch.setattr(psutil, "cpu_times", lambda: quiet)
    assert not host_facts.has_busy_neighbours(look_s=0.0)
