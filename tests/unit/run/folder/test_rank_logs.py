"""Which of several failing ranks tells the cause, and in which log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.rank_logs import diagnose_attempt, rank_errors, relevant_logs

KEY_ERROR = "Traceback (most recent call last):\nKeyError: 'instruction'\n"
ODD = "Traceback (most recent call last):\nValueError: something odd\n"
PEER = "Traceback (most recent call last):\nRuntimeError: [pair.cc:547] Connection closed by peer [127.0.0.1]:4242\n"
NCCL = "Traceback (most recent call last):\ntorch.distributed.DistBackendError: NCCL error\n"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
KILLED = "Root Cause:\n  exitcode  : -9 (pid: 12)\n  traceback : Signal 9 (SIGKILL) received by PID\n"
CALLED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:\n"


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptPaths:
    return AttemptPaths(tmp_path)


def leave(attempt: AttemptPaths, rank: int, *, error: tuple[float, str] | None = None, stderr: str = "log\n") -> None:
    folder = attempt.rank(rank)
    folder.root.mkdir(parents=True)
    folder.stderr.write_text(stderr, encoding="utf-8")
    text = json.dumps({"time_s": error[0], "error": "E", "text": error[1]}) if error else " " * 100
    folder.error.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("first", "second", "launcher", "rule"),
    [
        ((2.0, PEER), (1.0, KEY_ERROR), CALLED, "missing-columns"),
        ((1.0, PEER), (2.0, KEY_ERROR), CALLED, "missing-columns"),
        ((1.0, PEER), (2.0, ODD), CALLED, "unknown"),
        ((1.0, PEER), None, KILLED, "lost-rank"),
        ((1.0, NCCL), (2.0, OOM), CALLED, "gpu-out-of-memory"),
        ((1.0, NCCL), (2.0, NCCL), CALLED, "nccl"),
        (None, None, KILLED, "lost-rank"),
    ],
)
def test_the_cause_is_told_and_not_what_it_brought_about(
    attempt: AttemptPaths,
    first: tuple[float, str] | None,
    second: tuple[float, str] | None,
    launcher: str,
    rule: str,
) -> None:
    leave(attempt, 0, error=first)
    leave(attempt, 1, error=second)
    attempt.stderr.write_text(launcher, encoding="utf-8")
    found = diagnose_attempt(attempt, 1)
    assert found.rule == rule
    assert rule != "unknown" or found.message == "ValueError: something odd"


def test_the_log_of_the_rank_that_failed_first_comes_first_and_empty_ones_not_at_all(attempt: AttemptPaths) -> None:
    leave(attempt, 0, error=(5.0, PEER))
    leave(attempt, 1, error=(4.0, ODD))
    leave(attempt, 2, stderr="")
    attempt.stderr.write_text(CALLED, encoding="utf-8")
    attempt.stdout.write_text("", encoding="utf-8")
    assert [error.rank for error in rank_errors(attempt)] == [1, 0]
    assert relevant_logs(attempt) == [attempt.rank(1).stderr, attempt.stderr, attempt.rank(0).stderr]


def test_without_ranks_the_engines_own_logs_speak(attempt: AttemptPaths) -> None:
    attempt.stderr.write_text(KEY_ERROR, encoding="utf-8")
    attempt.stdout.write_text("hello\n", encoding="utf-8")
    assert relevant_logs(attempt) == [attempt.stderr, attempt.stdout]
    assert diagnose_attempt(attempt, 1).rule == "missing-columns"
