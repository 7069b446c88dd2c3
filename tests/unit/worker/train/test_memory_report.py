"""What a training says of its GPU's memory: after the third update and at the end, nothing on a CPU."""

from __future__ import annotations

import sys
import types
from types import SimpleNamespace

import pytest

from lfwrap_worker.train import memory_report


class FakeCuda:
    is_there = True

    def __getattr__(self, name):
        figures = {
            "is_available": self.is_there,
            "mem_get_info": (10, 100),
            "max_memory_allocated": 60,
            "max_memory_reserved": 70,
            "memory_reserved": 65,
            "get_device_name": "a GPU",
        }
        return lambda: figures[name]


@pytest.fixture
def trained(monkeypatch):
    """A callback that is taken through so many updates, each of which lasts two seconds; gives what was reported."""
    clock = SimpleNamespace(now=100.0)
    torch, transformers = types.ModuleType("torch"), types.ModuleType("transformers")
    torch.cuda = FakeCuda()
    transformers.TrainerCallback = object
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setattr(memory_report.time, "monotonic", lambda: clock.now)

    def train(updates):
        reports = []
        callback = memory_report.make_memory_callback(reports.append)
        for step in range(updates):
            callback.on_step_begin(None, SimpleNamespace(global_step=step), None)
            clock.now += 2.0
            callback.on_step_end(None, SimpleNamespace(global_step=step + 1), None)
        callback.on_train_end(None, SimpleNamespace(global_step=updates), None)
        return reports

    return train


def test_it_reports_early_and_at_the_end(trained):
    early, last = trained(8)
    assert (early["update"], last["update"]) == (3, 8)
    assert early["update_s"] == last["update_s"] == 2.0
    assert last["peak_allocated_bytes"] == 60
    assert last["outside_bytes"] == 100 - 10 - 65


def test_a_single_update_has_no_pace(trained):
    (only,) = trained(1)
    assert only["update_s"] is None
    assert only["peak_reserved_bytes"] == 70


def test_a_cpu_reports_nothing(trained, monkeypatch):
    monkeypatch.setattr(FakeCuda, "is_there", False)
    assert trained(5) == []
