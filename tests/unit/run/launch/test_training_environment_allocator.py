"""torch's allocator on one GPU or several: segments that grow, unless the person or the system says otherwise."""

import pytest
from fake_engine import fake_engine

from lfwrap.hardware.load import load_hardware
from lfwrap.invocation import Invocation
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch import build
from lfwrap.run.launch.build import build_command
from lfwrap.run.launch.launch import TrainingStart
from lfwrap.run.launch.launchers.registry import LAUNCHERS

NAME = "PYTORCH_CUDA_ALLOC_CONF"


WAYS = [("process", 1), ("torchrun", 2), ("deepspeed", 2), ("ray", 2)]


def environment(folder, environ, machine="h100-80gb", launcher="process", world_size=1):
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
    added = environment(tmp_path, {}, launcher=launcher, world_size=world_size)
    assert added[NAME] == "expandable_segments:True"


@pytest.mark.parametrize(("launcher", "world_size"), WAYS)
@pytest.mark.parametrize("name", [NAME, "PYTORCH_ALLOC_CONF"])
def test_what_the_person_has_set_stays(tmp_path, monkeypatch, name, launcher, world_size):
    on_linux(monkeypatch)
    environ = {name: "max_split_size_mb:512"}
    assert NAME not in environment(tmp_path, environ, launcher=launcher, world_size=world_size)


def test_no_setting_where_the_driver_has_no_virtual_memory(tmp_path, monkeypatch):
    on_linux(monkeypatch, "5.15.90.1-microsoft-standard-WSL2")
    assert NAME not in environment(tmp_path, {})
    monkeypatch.setattr(build.sys, "platform", "win32")
    assert NAME not in environment(tmp_path, {})


def test_no_setting_without_a_gpu(tmp_path, monkeypatch):
    on_linux(monkeypatch)
    assert NAME not in environment(tmp_path, {}, "cpu")
