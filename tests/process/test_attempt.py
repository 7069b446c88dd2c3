"""A whole attempt with a stand-in for the engine: record, events, files and states, through real signals."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.engine.child_process import run_processes
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.errors import PreflightError, RunStateError
from lfwrap.run.folder.monitor import Progress
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, load_run, prepare_record, utc_now
from lfwrap.run.launch.command import Command
from lfwrap.run.supervise.attempt import Attempt, Listener, run_attempt
from lfwrap.run.supervise.supervisor import Patience, StopLevel

# Trains five steps as the engine's files show it; on SIGTERM it stops at once and exits 0, as the engine does.
STAND_IN = """
    import json, signal, struct, sys, time
    from pathlib import Path
    steps, seconds = int(sys.argv[2]), float(sys.argv[3])
    output = Path(sys.argv[1])
    output.mkdir(exist_ok=True)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    print("***** Running training *****", file=sys.stderr, flush=True)
    done = 0
    with (output / "trainer_log.jsonl").open("a") as log:
        while done < steps and not asked:
            time.sleep(seconds)
            done += 1
            log.write(json.dumps({"current_steps": done, "total_steps": 5, "loss": 5 - done}) + "\\n")
            log.flush()
    header = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    (output / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (output / "trainer_state.json").write_text(json.dumps({"global_step": done, "max_steps": 5}))
    sys.exit(int(sys.argv[4]))
"""
QUICK = Patience(checkpoint_s=20, hurry_s=1, sweep_s=1, poll_s=0.02)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    paths = create_run_folder(tmp_path, "r")
    return prepare_record(
        paths, RunRecord(paths.name, RunState.PREPARED, "r", utc_now(), "", "m", "lora", "sft", "qwen")
    )


def attempt_for(
    run: Run, *, steps: int = 5, seconds: float = 0.02, exit_code: int = 0, script: str = STAND_IN
) -> Attempt:
    arguments = (str(run.paths.output), str(steps), str(seconds), str(exit_code))
    command = Command(
        (sys.executable, "-c", textwrap.dedent(script), *arguments), run.paths.root, {RUN_VARIABLE: str(run.paths.root)}
    )
    return Attempt(command, {"do_train": True, "finetuning_type": "lora"}, dict(os.environ), patience=QUICK)


def test_a_finished_attempt_succeeds_and_everything_is_on_disk(run: Run) -> None:
    phases: list[str] = []
    entries: list[Progress] = []
    done = run_attempt(run, attempt_for(run), Listener(on_phase=phases.append, on_progress=entries.append))
    assert done == load_run(run.paths.root)
    record = done.record
    assert (record.state, record.global_step, record.max_steps, record.attempt) == (RunState.SUCCEEDED, 5, 5, 0)
    assert (record.first_loss, record.last_loss, record.exit_code, record.supervisor) == (4, 0, 0, None)
    assert record.duration_s > 0.1
    assert [entry.step for entry in entries] == [1, 2, 3, 4, 5]
    assert phases == ["starting the engine", "training"]
    folder = run.paths.attempt(0)
    assert json.loads(folder.command.read_bytes())["environment"] == {
        RUN_VARIABLE: str(run.paths.root),
        "LFWRAP_ATTEMPT": str(folder.root),
    }
    assert json.loads(folder.exit.read_bytes())["state"] == "succeeded"


@pytest.mark.parametrize(
    ("steps", "exit_code", "state"),
    [(5, 1, RunState.SUCCEEDED), (3, 0, RunState.FAILED), (3, 1, RunState.FAILED)],
    ids=["crash after the last step", "quiet end before it", "crash before it"],
)
def test_steps_and_files_decide_not_the_exit_code(run: Run, steps: int, exit_code: int, state: RunState) -> None:
    done = run_attempt(run, attempt_for(run, steps=steps, exit_code=exit_code), Listener())
    assert (done.record.state, done.record.global_step, done.record.exit_code) == (state, steps, exit_code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_and_a_second_attempt_finishes(run: Run, number: signal.Signals) -> None:
    levels: list[StopLevel] = []

    def interrupt_once(entry: Progress) -> None:
        if entry.step == 2:
            os.kill(os.getpid(), number)

    listener = Listener(on_progress=interrupt_once, on_stop=levels.append)
    done = run_attempt(run, attempt_for(run, seconds=0.3), listener)
    assert done.record.state is RunState.INTERRUPTED
    assert number.name in done.record.reason
    assert 2 <= done.record.global_step < 5
    assert levels == [StopLevel.ASKED]
    assert run_processes(str(run.paths.root)) == []
    again = run_attempt(done, attempt_for(run), Listener())
    assert (again.record.state, again.record.attempt, again.record.reason) == (RunState.SUCCEEDED, 1, "")
    assert again.record.duration_s > done.record.duration_s
    assert run.paths.attempt_numbers() == [0, 1]


def test_a_command_that_can_not_start_fails_the_run(run: Run) -> None:
    broken = dataclasses.replace(
        attempt_for(run), command=Command(("/no/engine",), run.paths.root, {RUN_VARIABLE: "x"})
    )
    with pytest.raises(PreflightError):
        run_attempt(run, broken, Listener())
    assert load_run(run.paths.root).record.state is RunState.FAILED


def test_a_bug_in_the_view_fails_the_run_and_leaves_nothing(run: Run) -> None:
    def break_down(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_attempt(run, attempt_for(run, seconds=0.2), Listener(on_progress=break_down))
    record = load_run(run.paths.root).record
    assert (record.state, "ZeroDivisionError" in record.reason) == (RunState.FAILED, True)
    assert run_processes(str(run.paths.root)) == []


def test_a_run_can_not_be_started_twice_at_once(run: Run) -> None:
    refused: list[BaseException] = []

    def start_again(entry: Progress) -> None:
        if entry.step == 1:
            thread = threading.Thread(target=try_to_start)
            thread.start()
            thread.join()

    def try_to_start() -> None:
        from lfwrap.files import locked

        try:
            with locked(run.paths.lock, timeout_s=0):
                pass
        except RunStateError as error:
            refused.append(error)

    run_attempt(run, attempt_for(run), Listener(on_progress=start_again))
    assert len(refused) == 1


def test_what_comes_before_the_start_happens_under_the_lock(run: Run) -> None:
    seen: list[bool] = []
    action: Callable[[], None] = lambda: seen.append(run.paths.attempts.exists())  # noqa: E731
    run_attempt(run, attempt_for(run), Listener(), before_start=action)
    assert seen == [False]
