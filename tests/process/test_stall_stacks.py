"""A training that hangs: noticed, everybody's stacks kept, warned of or stopped, and nothing left of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.engine import arguments
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.run.folder.monitor import Progress
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, prepare_record, utc_now
from lfwrap.run.launch.command import Command
from lfwrap.run.supervise.attempt import Attempt, Listener, run_attempt
from lfwrap.run.supervise.stall import OnStall, Stall, StallPolicy
from lfwrap.run.supervise.supervisor import Patience

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="stacks are asked for by /proc")

WORKER = arguments.FOLDER
# One of two ranks, with the worker's own rank files; rank 1 hangs after two updates as argv says.
RANK = """
import json, os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from lfwrap_worker.train import rank_files
folder = rank_files.open_rank_folder()
rank, how = int(os.environ["RANK"]), sys.argv[3]
print("***** Running training *****", file=sys.stderr, flush=True)
def wait_for_the_others():
    time.sleep(60)
for step in range(1, 3):
    folder.beat()
    if rank == 0:
        with open(sys.argv[2] + "/trainer_log.jsonl", "a") as log:
            log.write(json.dumps({"current_steps": step, "total_steps": 9, "loss": 1.0}) + chr(10))
    time.sleep(0.02)
if rank == 1 and how == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
wait_for_the_others()
"""
LAUNCHER = """
import os, subprocess, sys
ranks = [
    subprocess.Popen(
        [sys.executable, "-c", *sys.argv[1:]],
        env={**os.environ, "RANK": str(n), "LOCAL_RANK": str(n)},
        start_new_session=True,
    )
    for n in range(2)
]
sys.exit(max(rank.wait() for rank in ranks))
"""
QUICK = Patience(checkpoint_s=20, hurry_s=1, sweep_s=1, poll_s=0.02)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    paths = create_run_folder(tmp_path, "r")
    paths.output.mkdir()
    return prepare_record(paths, RunRecord("r", RunState.PREPARED, "r", utc_now(), "", "m", "lora", "sft", "qwen"))


def attempt_for(run: Run, how: str, action: OnStall) -> Attempt:
    arguments = (RANK, str(WORKER), str(run.paths.output), how)
    command = Command((sys.executable, "-c", LAUNCHER, *arguments), run.paths.root, {RUN_VARIABLE: str(run.paths.root)})
    policy = StallPolicy(limit_s=2.0, action=action)
    return Attempt(command, {"do_train": True}, dict(os.environ), patience=QUICK, stall=policy)


def test_hanging_ranks_are_stopped_and_their_stacks_kept(run: Run, marked_in_proc: Callable[[Path], list[str]]) -> None:
    seen: list[Stall] = []
    done = run_attempt(run, attempt_for(run, "sleep", OnStall.STOP), Listener(on_stall=seen.append))
    assert marked_in_proc(run.paths.root) == []
    assert (done.record.state, done.record.global_step) == (RunState.FAILED, 2)
    [stall] = seen
    stacks = stall.stacks.read_text(encoding="utf-8")
    assert stacks.count("in wait_for_the_others") == 2
    assert "== rank 0 pid=" in stacks
    assert "== rank 1 pid=" in stacks
    exit_json = json.loads(run.paths.attempt(0).exit.read_bytes())
    assert (exit_json["diagnosis"]["rule"], exit_json["was_demanded"]) == ("stalled", True)
    assert "at step 2" in exit_json["diagnosis"]["evidence"]
    events = [json.loads(line) for line in run.paths.events.read_text(encoding="utf-8").splitlines()]
    assert [event["step"] for event in events if event["event"] == "stall"] == [2]


def test_a_stopped_rank_is_told_by_its_state_and_does_not_escape(
    run: Run, marked_in_proc: Callable[[Path], list[str]]
) -> None:
    seen: list[Stall] = []
    done = run_attempt(run, attempt_for(run, "stop", OnStall.STOP), Listener(on_stall=seen.append))
    assert marked_in_proc(run.paths.root) == []
    assert done.record.state is RunState.FAILED
    sections = seen[0].stacks.read_text(encoding="utf-8").split("== ")
    [stopped] = [section for section in sections if section.startswith("rank 1")]
    assert "state=stopped" in stopped
    if shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") is None:
        assert "py-spy is not there" in stopped


def test_a_warning_leaves_the_training_alone_until_somebody_stops_it(
    run: Run, marked_in_proc: Callable[[Path], list[str]]
) -> None:
    seen: list[Stall] = []

    def end(stall: Stall) -> None:
        seen.append(stall)
        os.kill(os.getpid(), signal.SIGTERM)

    done = run_attempt(run, attempt_for(run, "sleep", OnStall.WARN), Listener(on_stall=end))
    assert (len(seen), done.record.state) == (1, RunState.INTERRUPTED)
    assert marked_in_proc(run.paths.root) == []


def test_each_rank_has_logs_of_its_own_without_the_example(run: Run) -> None:
    folder = run.paths.attempt(0)

    def stop_at_two(entry: Progress) -> None:
        if entry.step == 2:  # the first rank's; the second may only just have been started
            deadline_s = time.monotonic() + 20
            while time.monotonic() < deadline_s and not (
                len(folder.ranks()) == 2 and folder.rank(1).stderr.stat().st_size
            ):
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

    run_attempt(run, attempt_for(run, "sleep", OnStall.WARN), Listener(on_progress=stop_at_two))
    assert [rank.number for rank in folder.ranks()] == [0, 1]
    assert "Running training" in folder.rank(1).stderr.read_text(encoding="utf-8")
    assert "Running training" not in folder.stderr.read_text(encoding="utf-8")
    assert folder.rank(1).stdout.is_file()
