"""One start of the engine, from the prepared run to its outcome; everything is on disk before it happens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.fsio import locked, write_json
from lfwrap.run.command import Command
from lfwrap.run.identity import probe_process
from lfwrap.run.monitor import Progress, RunMonitor
from lfwrap.run.outcome import Outcome, judge
from lfwrap.run.process import become_subreaper, start_child
from lfwrap.run.record import Run, RunState, append_event, change_state
from lfwrap.run.supervisor import Ending, Patience, StopLevel, StopRequests, supervise


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know how a run goes on.

    Attributes:
        on_phase: called with what the engine is doing now.
        on_progress: called with every entry of the engine's log.
        on_stop: called when a level of stopping begins.
        on_tick: called at every look at the child.
    """

    on_phase: Callable[[str], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_stop: Callable[[StopLevel], None] = lambda _: None
    on_tick: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is needed to start the engine once.

    Attributes:
        command: what is started.
        values: the engine's values.
        environ: lfwrap's own environment, to which the command adds.
        show_example: keep the training example that the engine prints.
        patience: how long stopping may take.
    """

    command: Command
    values: Mapping[str, Any]
    environ: Mapping[str, str]
    show_example: bool = False
    patience: Patience = field(default_factory=Patience)


def run_attempt(
    run: Run, attempt: Attempt, listener: Listener, *, before_start: Callable[[], None] | None = None
) -> Run:
    """Start the engine, follow it to its end, record how it came out; no process of the run is left.

    Args:
        run: a run that may be started.
        attempt: the command and its settings.
        listener: told of every step.
        before_start: called under the run's lock, before the engine starts.

    Returns:
        The run with its new state: succeeded, failed or interrupted.

    Raises:
        RunStateError: another process holds the run, or its state does not allow a start.
        PreflightError: the command can't be started.
    """
    with locked(run.paths.lock, timeout_s=0), StopRequests().listening() as requests:
        if before_start is not None:
            before_start()
        number = max([*run.paths.attempt_numbers(), run.record.attempt], default=-1) + 1
        folder = run.paths.attempt(number)
        folder.root.mkdir(parents=True)
        write_json(folder.command, attempt.command.to_json())
        run = change_state(run, RunState.RUNNING, attempt=number, reason="", exit_code=None, supervisor=probe_process())
        since_s = time.time()
        try:
            ending = _follow(run, attempt, number, requests, listener)
        except BaseException as error:
            reason = f"lfwrap itself stopped: {type(error).__name__}: {error}"
            change_state(run, RunState.FAILED, reason=reason, supervisor=None)
            raise
        outcome = judge(run.paths, folder, ending, attempt.values, since_s=since_s)
        return _record(run, folder.exit, ending, outcome)


def _follow(run: Run, attempt: Attempt, number: int, requests: StopRequests, listener: Listener) -> Ending:
    folder = run.paths.attempt(number)
    become_subreaper()
    child = start_child(
        attempt.command.argv,
        cwd=attempt.command.cwd,
        environment={**attempt.environ, **attempt.command.environment},
        stdout=folder.stdout,
        stderr=folder.stderr,
        show_example=attempt.show_example,
    )
    append_event(run.paths, "started", attempt=number, pid=child.pid)
    monitor = RunMonitor(run.paths, folder)
    listener.on_phase(monitor.phase)

    def look() -> None:
        for news in monitor.poll():
            if isinstance(news, Progress):
                listener.on_progress(news)
            else:
                listener.on_phase(news)
        listener.on_tick()

    def stop(level: StopLevel) -> None:
        append_event(run.paths, "stop", level=level.name.lower(), signals=requests.received)
        listener.on_stop(level)

    return supervise(child, requests, on_tick=look, on_stop=stop, patience=attempt.patience)


def _record(run: Run, exit_json: Path, ending: Ending, outcome: Outcome) -> Run:
    write_json(
        exit_json,
        {
            **dataclasses.asdict(ending),
            "stop_level": ending.stop_level.name.lower(),
            "state": outcome.state,
            "reason": outcome.reason,
            "global_step": outcome.global_step,
            "max_steps": outcome.max_steps,
            "diagnosis": outcome.diagnosis.to_json() if outcome.diagnosis else None,
        },
    )
    return change_state(
        run,
        outcome.state,
        reason=outcome.reason,
        exit_code=ending.exit_code,
        global_step=outcome.global_step,
        max_steps=outcome.max_steps,
        first_loss=outcome.first_loss,
        last_loss=outcome.last_loss,
        duration_s=run.record.duration_s + ending.duration_s,
        supervisor=None,
    )
