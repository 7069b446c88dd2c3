"""What a training process leaves behind: its error in room kept for it, a heartbeat, nothing after a good end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.rank_logs import rank_errors
from lfwrap_worker.contract import ATTEMPT_VARIABLE
from lfwrap_worker.train import rank_files


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptPaths:
    return AttemptPaths(tmp_path)


@pytest.mark.parametrize("filling", ["x", "显存不足", '"\n'])
def test_an_error_is_written_into_the_room_that_was_kept_for_it(attempt: AttemptPaths, filling: str) -> None:
    folder = rank_files.RankFolder(attempt.rank(3).root)
    room_bytes = attempt.rank(3).error.stat().st_size
    assert rank_errors(attempt) == []
    folder.end(ValueError("the ⚙ broke" + filling * 30_000))
    assert attempt.rank(3).error.stat().st_size <= room_bytes
    [error] = rank_errors(attempt)
    assert error.rank == 3
    assert filling * 100 in error.text
    assert json.loads(attempt.rank(3).error.read_bytes())["error"].startswith("ValueError: the ⚙ broke")


def test_a_good_end_leaves_no_error(attempt: AttemptPaths) -> None:
    rank_files.RankFolder(attempt.rank(0).root).end()
    assert not attempt.rank(0).error.exists()


def test_the_heart_beats_at_most_once_a_second(attempt: AttemptPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(rank_files.time, "monotonic", lambda: now[0])
    folder = rank_files.RankFolder(attempt.rank(0).root)
    folder.beat()
    attempt.rank(0).heartbeat.unlink()
    now[0] += 0.5
    folder.beat()
    assert not attempt.rank(0).heartbeat.exists()
    now[0] += 0.6
    folder.beat()
    assert attempt.rank(0).heartbeat.exists()


def test_started_by_hand_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ATTEMPT_VARIABLE, raising=False)
    assert rank_files.open_rank_folder() is None


def test_a_fact_that_can_not_be_written_is_no_reason_to_stop(
    attempt: AttemptPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = rank_files.RankFolder(attempt.rank(0).root)
    (attempt.rank(0).root / "probe.json").mkdir()
    folder.write_json("probe.json", {"a": 1})
    assert "probe.json" in capsys.readouterr().err
