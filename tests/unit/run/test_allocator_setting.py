"""torch's allocator on one GPU: segments that grow, unless the person or the system says otherwise."""

import pytest

from lfwrap.hardware.profile import load_hardware
from lfwrap.run import launch
from lfwrap.run.launch import launch_request
from lfwrap.run.paths import RunPaths

NAME = "PYTORCH_CUDA_ALLOC_CONF"


def environment(folder, environ, machine="h100-80gb"):
    hardware = load_hardware(machine)
    return launch_request(None, hardware, RunPaths(folder), folder, environ, world_size=1).environment


def on_linux(monkeypatch, release="6.1.0-18-amd64"):
    monkeypatch.setattr(launch.sys, "platform", "linux")
    monkeypatch.setattr(launch.platform, "release", lambda: release)


def test_one_gpu_has_segments_that_grow(tmp_path, monkeypatch):
    on_linux(monkeypatch)
    assert environment(tmp_path, {})[NAME] == "expandable_segments:True"


@pytest.mark.parametrize("name", [NAME, "PYTORCH_ALLOC_CONF"])
def test_what_the_person_has_set_stays(tmp_path, monkeypatch, name):
    on_linux(monkeypatch)
    assert NAME not in environment(tmp_path, {name: "max_split_size_mb:512"})


def test_no_setting_where_the_driver_has_no_virtual_memory(tmp_path, monkeypatch):
    on_linux(monkeypatch, "5.15.90.1-microsoft-standard-WSL2")
    assert NAME not in environment(tmp_path, {})
    monkeypatch.setattr(launch.sys, "platform", "win32")
    assert NAME not in environment(tmp_path, {})


def test_no_setting_without_a_gpu(tmp_path, monkeypatch):
    on_linux(monkeypatch)
    assert NAME not in environment(tmp_path, {}, "cpu")
