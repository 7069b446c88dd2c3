"""When a training counts as stalled: never during its start, later for slow steps, once for each stall."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lfwrap.hardware.host_facts import disk_reserve, is_disk_full, oom_kills
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.supervise.stall import Stall, StallWatch


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    (tmp_path / "output").mkdir()
    return RunPaths(tmp_path)


def watch(run: RunPaths, limit_s: float = 10.0) -> StallWatch:
    return StallWatch(run, run.attempt(0), limit_s)


def beat(attempt: AttemptPaths, rank: int, time_s: float) -> None:
    attempt.rank(rank).root.mkdir(parents=True, exist_ok=True)
    attempt.rank(rank).heartbeat.touch()
    os.utime(attempt.rank(rank).heartbeat, (time_s, time_s))


def test_the_start_up_is_no_stall(run: RunPaths) -> None:
    assert watch(run).check(1e6) is None


def test_the_first_update_has_three_times_the_patience(run: RunPaths) -> None:
    found = watch(run)
    found.note_training(100.0)
    assert found.check(129.0) is None
    assert found.check(131.0) == 31.0


def test_a_stall_is_told_once_and_again_after_progress(run: RunPaths) -> None:
    found = watch(run)
    found.note_training(0.0)
    for step in range(1, 11):
        found.note_step(step, step / 10)
    assert found.check(10.5) is None
    assert found.check(12.0) == 11.0
    assert found.check(100.0) is None
    found.note_step(11, 101.0)
    assert found.check(103.0) is None
    assert found.check(150.0) == 49.0


def test_slow_steps_stretch_the_patience(run: RunPaths) -> None:
    found = watch(run)
    found.note_training(0.0)
    for step in range(1, 5):
        found.note_step(step, step * 5.0)
    assert found.allowed_s == 100.0
    assert found.check(60.0) is None
    assert found.check(121.0) == 101.0


def test_heartbeats_count_as_progress_and_name_the_silent_rank(run: RunPaths) -> None:
    found, attempt = watch(run, 300.0), run.attempt(0)
    found.note_training(0.0)
    found.note_step(1, 1.0)
    beat(attempt, 0, 1000.0)
    beat(attempt, 1, 990.0)
    assert found.check(12.0) is None
    assert found.last_ranks() == (1,)
    beat(attempt, 1, 1000.5)
    assert found.check(20.0) is None
    assert found.last_ranks() == ()
    assert found.check(319.0) is None
    assert found.check(320.5) == 300.5


def test_a_checkpoint_that_is_being_written_is_no_stall(run: RunPaths) -> None:
    found = watch(run)
    found.note_training(0.0)
    found.note_step(1, 1.0)
    shard = run.output / "checkpoint-1" / "model.safetensors"
    shard.parent.mkdir()
    shard.write_bytes(b"half")
    assert found.check(50.0) is None
    os.utime(shard, (time.time() - 100,) * 2)
    assert found.check(52.0) == 51.0


def test_zero_switches_the_watch_off(run: RunPaths) -> None:
    found = watch(run, 0.0)
    found.note_training(0.0)
    found.note_step(1, 1.0)
    assert found.check(1e9) is None


def test_a_stall_reads_as_a_sentence() -> None:
    assert str(Stall(61.0, 3, (), Path("s.txt"))) == "no progress for 61 s at step 3; stacks: s.txt"


@pytest.mark.parametrize(
    ("text", "count"), [("low 0\noom_kill 3\noom_group_kill 0\n", 3), ("low 0\n", 0), ("oom_kill\n", 0), (None, 0)]
)
def test_the_kernels_kills_are_counted_where_it_counts_them(tmp_path: Path, text: str | None, count: int) -> None:
    path = tmp_path / "memory.events"
    if text is not None:
        path.write_text(text, encoding="ascii")
    assert oom_kills(path) == count


def test_room_is_held_for_the_record_and_given_back(tmp_path: Path) -> None:
    with disk_reserve(tmp_path) as reserve:
        assert reserve.stat().st_blocks * 512 >= 256 << 10
    assert list(tmp_path.iterdir()) == []
    assert not is_disk_full(tmp_path)
