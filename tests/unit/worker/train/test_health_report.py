"""What a rank leaves of a training's health: the trainer's figures from the first rank, memory and load from each."""

from __future__ import annotations

import json
import sys
import types
from types import SimpleNamespace

import pytest

from lfwrap_worker.train import health_report, rank_files


class FakeCuda:
    """A GPU whose library may answer or not."""

    def __init__(self, utilisation):
        self.utilisation, self.asked = utilisation, 0

    is_available = is_initialized = staticmethod(lambda: True)
    memory_allocated = staticmethod(lambda: 60)
    memory_reserved = staticmethod(lambda: 70)

    def utilization(self):
        self.asked += 1
        if isinstance(self.utilisation, Exception):
            raise self.utilisation
        return self.utilisation


@pytest.fixture
def trained(monkeypatch):
    """A callback that is given these entries of the log, one each two seconds; gives what was reported."""
    clock = SimpleNamespace(now=100.0, cpu=7.0)
    torch, transformers = types.ModuleType("torch"), types.ModuleType("transformers")
    transformers.TrainerCallback = object
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    monkeypatch.setattr(health_report.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(health_report.time, "process_time", lambda: clock.cpu)

    def train(cuda, *entries, is_first=True, seconds=2.0):
        torch.cuda = cuda
        reports = []
        callback = health_report.make_health_callback(reports.append, is_first=is_first)
        for step, logs in enumerate(entries, 1):
            clock.now, clock.cpu = clock.now + seconds, clock.cpu + 3.0
            state = SimpleNamespace(global_step=step, max_steps=9, epoch=step / 4)
            callback.on_log(None, state, None, logs=logs)
        return reports

    return train


LOGS = {"loss": 2.0, "grad_norm": 0.5, "learning_rate": 1e-3, "total_flos": 7}


def test_the_first_rank_says_what_the_trainer_logs(trained):
    (found,) = trained(FakeCuda(98), LOGS)
    rss = found.pop("rss_bytes")
    assert found == {
        "step": 1, "total_steps": 9, "loss": 2.0, "grad_norm": 0.5, "learning_rate": 1e-3, "epoch": 0.25,
        "cpu_cores": 1.5, "memory_bytes": 60, "reserved_bytes": 70, "busy_percent": 98.0,
    }  # fmt: skip
    assert rss > 1 << 20


def test_the_others_say_what_they_take(trained):
    (found,) = trained(FakeCuda(50), LOGS, is_first=False)
    assert set(found) == {
        "step", "total_steps", "cpu_cores", "rss_bytes", "memory_bytes", "reserved_bytes", "busy_percent",
    }  # fmt: skip


def test_memory_is_read_once_a_second_at_most(trained):
    found = trained(FakeCuda(50), *[LOGS] * 20, seconds=0.1)
    assert [("memory_bytes" in each) for each in found].count(True) == 2
    assert all(each["loss"] == 2.0 for each in found)


@pytest.mark.parametrize("error", [ModuleNotFoundError("pynvml"), RuntimeError("driver"), AttributeError("no NVML")])
def test_without_nvml_there_is_no_utilisation_and_it_is_asked_once(trained, error):
    cuda = FakeCuda(error)
    found = trained(cuda, LOGS, LOGS, LOGS)
    assert cuda.asked == 1
    assert all("busy_percent" not in each and each["memory_bytes"] == 60 for each in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (SimpleNamespace(), None), ("1.5", 1.5), (None, None), ([1], None)],
)
def test_what_is_no_finite_number_comes_as_text_or_not_at_all(trained, value, text):
    (found,) = trained(FakeCuda(1), {"loss": 1.0, "grad_norm": value})
    assert found.get("grad_norm") == text
    json.dumps(found, allow_nan=False)


def test_logs_of_another_shape_are_passed_over(trained):
    assert [set(each) & {"loss"} for each in trained(FakeCuda(1), None, [], {})] == [set(), set(), set()]


def test_a_rank_file_begins_anew_when_it_has_become_long(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_files, "_HEALTH_BYTES", 1000)
    folder = rank_files.RankFolder(tmp_path / "0")
    for step in range(500):
        folder.add_line("health.jsonl", {"step": step})
    assert (tmp_path / "0" / "health.jsonl").stat().st_size < 1100
    assert (tmp_path / "0" / "health.jsonl").read_text().splitlines()[-1] == '{"step": 499}'


def test_a_file_that_can_not_be_written_is_said_once(tmp_path, capsys):
    folder = rank_files.RankFolder(tmp_path / "0")
    (tmp_path / "0" / "health.jsonl").mkdir()
    for step in range(5):
        folder.add_line("health.jsonl", {"step": step})
    assert len(capsys.readouterr().err.splitlines()) == 1
