"""Which GPU is free enough, the driver's library stood in for."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from lfwrap.export import parity_check
from lfwrap.export.parity_check import choose_gpu
from lfwrap.units import GIB


@pytest.fixture
def machine(monkeypatch):
    """Makes a machine of GPUs with so much free memory."""

    def make(*free_gib: int):
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
        monkeypatch.setattr(parity_check, "visible_handles", lambda _: range(len(free_gib)))
        memory = lambda handle: SimpleNamespace(free=free_gib[handle] * GIB)  # noqa: E731 - one line a stand-in
        monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle}")

    return make


@pytest.mark.parametrize(
    ("free_gib", "chosen"),
    [((80,), "GPU-0"), ((2, 70, 30), "GPU-1"), ((18, 19), ""), ((20, 18), "GPU-0"), ((), None)],
)
def test_the_emptiest_is_chosen_if_the_model_fits(machine, free_gib, chosen):
    machine(*free_gib)
    assert choose_gpu(15 * GIB)[0] == chosen


def test_without_a_driver_there_is_nothing_to_choose(monkeypatch):
    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert choose_gpu(1) == (None, 0)
