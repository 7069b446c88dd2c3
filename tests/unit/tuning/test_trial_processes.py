"""The processes that make trials, as stand-ins for the engine's: ready, done, too late, gone; none is left."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from lfwrap.errors import PreflightError
from lfwrap.tuning.trial_processes import EngineStart, TrialTeam

READY = "print(json.dumps({'event': 'ready', 'forks': %s}), flush=True)\n"
DOES_TRIALS = (
    "for line in sys.stdin:\n    time.sleep(json.loads(line)['s'])\n    print('{\"event\": \"done\"}', flush=True)\n"
)


@pytest.fixture
def team(tmp_path):
    """team(code, size): the processes, each of which runs this code; ended afterwards."""
    teams = []

    def make(code: str, size: int = 2) -> TrialTeam:
        python = tmp_path / "python"
        python.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{code}")
        python.chmod(0o755)
        teams.append(TrialTeam(EngineStart(python, size, os.environ, tmp_path, tmp_path / "log")))
        return teams[-1]

    yield make
    for each in teams:
        each.close()


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize("forks", [True, False])
def test_a_trial_is_made_by_all(team, forks):
    both = team(READY % forks + DOES_TRIALS)
    assert both.wait_ready(soon())
    assert both.forks is forks
    assert both.run([{"s": 0.0}, {"s": 0.1}], soon())
    assert both.run([{"s": 0.0}, {"s": 0.0}], soon())


def test_what_the_engine_prints_while_it_is_imported_is_no_event(team):
    assert team("print('WARNING: no GPU')\n" + READY % True).wait_ready(soon())


@pytest.mark.parametrize(
    "code", ["sys.exit('no torch')", "print('[]')", "os.kill(os.getpid(), 9)", "os.close(1); time.sleep(9)"]
)
def test_processes_that_never_get_ready(team, tmp_path, code):
    assert not team(code).wait_ready(soon())
    assert ("no torch" in (tmp_path / "log").read_text()) is ("torch" in code)


def test_time_that_runs_out_is_not_the_end_of_what_is_coming(team):
    one = team("time.sleep(0.4)\n" + READY % True + DOES_TRIALS, 1)
    assert not one.wait_ready(soon(0.05))
    assert one.wait_ready(soon())
    assert not one.run([{"s": 0.5}], soon(0.1))


def test_a_process_that_dies_in_its_trial_is_not_waited_for(team):
    one = team(READY % True + "sys.stdin.readline(); sys.exit(1)\n", 1)
    assert one.wait_ready(soon())
    assert one.run([{"s": 0.0}], soon())
    assert one.run([{"s": 0.0}], soon())


def test_a_python_that_is_not_there_leaves_no_process(tmp_path):
    start = EngineStart(tmp_path / "python", 2, os.environ, tmp_path, tmp_path / "log")
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(PreflightError, match="can't be started"):
        TrialTeam(start)
    assert {child.pid for child in psutil.Process().children()} <= before
