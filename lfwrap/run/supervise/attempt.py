"""One start of the engine, from the prepared run to its outcome; everything is on disk before it happens."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.files import locked, write_json
from lfwrap.hardware.host_facts import disk_reserve, oom_kills
from lfwrap.model.training_note import write_notes
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.rank_logs import relevant_logs
from lfwrap.run.folder.record import Run, RunState, append_event, change_state
from lfwrap.run.launch.build import attempt_environment
from lfwrap.run.launch.command import Command
from lfwrap.run.supervise.follow import Follower, Listener, Watches
from lfwrap.run.supervise.health import HealthRecorder, HealthWatch, OnDivergence
from lfwrap.run.supervise.outcome import Outcome, Watched, judge
from lfwrap.run.supervise.stall import StallPolicy
from lfwrap.run.supervise.supervisor import Ending, Patience, StopRequests, start_training

__all__ = ["Attempt", "Listener", "run_attempt"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is needed to start the engine once.

    Attributes:
        command: what is started.
        values: the engine's values.
        environ: lfwrap's own environment, to which the command adds.
        show_example: keep the training example that the engine prints.
        patience: how long stopping may take.
        stall: when the training counts as stalled, and what then.
        on_divergence: what to do about a training that diverges.
        probe: try the longest batch early.
        lowers_memory: after an out-of-memory error, go on with a smaller micro-batch (`run_until_it_fits`).
        verdict: look at the result at the end; left to who starts the attempt.
    """

    command: Command
    values: Mapping[str, Any]
    environ: Mapping[str, str]
    show_example: bool = False
    patience: Patience = field(default_factory=Patience)
    stall: StallPolicy = field(default_factory=StallPolicy)
    on_divergence: OnDivergence = OnDivergence.WARN
    probe: bool = True
    lowers_memory: bool = True
    verdict: bool = True


def run_attempt(
    run: Run, attempt: Attempt, listener: Listener, *, before_start: Callable[[], None] | None = None
) -> Run:
    """Start the engine, follow it to its end, record how it came out; no process of the run is left.

    Args:
        run: a run that may be started.
        attempt: the command and its settings.
        listener: receives every step.
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
        run, command = _begin(run, attempt)
        folder = run.paths.attempt(run.record.attempt)
        follower = _make_follower(run, attempt, listener)
        since_s, kills = time.time(), oom_kills()
        try:
            with disk_reserve(folder.root):
                ending = _follow(run, attempt, command, follower, requests)
        except BaseException as error:
            reason = f"lfwrap itself stopped: {type(error).__name__}: {error}"
            change_state(run, RunState.FAILED, reason=reason, supervisor=None)
            raise
        watched = Watched(since_s, follower.stalls, oom_kills() - kills, follower.divergence)
        outcome = judge(run.paths, folder, ending, attempt.values, watched)
        write_notes((run.paths.output, *run.paths.checkpoints()), attempt.values)
        return _record(run, folder, ending, outcome, follower)


def _begin(run: Run, attempt: Attempt) -> tuple[Run, Command]:
    """A new attempt's folder with its command in it; the run is running from here on."""
    number = max([*run.paths.attempt_numbers(), run.record.attempt], default=-1) + 1
    folder = run.paths.attempt(number)
    folder.root.mkdir(parents=True)
    added = attempt_environment(folder, show_example=attempt.show_example, probe=attempt.probe)
    command = dataclasses.replace(attempt.command, environment={**attempt.command.environment, **added})
    write_json(folder.command, command.to_json())
    supervisor = probe_process()
    return change_state(
        run, RunState.RUNNING, attempt=number, reason="", exit_code=None, supervisor=supervisor
    ), command


def _make_follower(run: Run, attempt: Attempt, listener: Listener) -> Follower:
    def copies() -> float | None:
        from lfwrap.run.preflight.rows import repeated_share  # reads data: needed by few runs

        folder = Path(run.record.dataset_dir or "data")
        return repeated_share(run.record.datasets, attempt.command.cwd / folder)

    watch = HealthWatch(attempt.values, copies)
    watches = Watches(attempt.stall, HealthRecorder(run.paths, watch), attempt.on_divergence)
    return Follower(run.paths, run.paths.attempt(run.record.attempt), listener, watches)


def _follow(run: Run, attempt: Attempt, command: Command, follower: Follower, requests: StopRequests) -> Ending:
    folder = run.paths.attempt(run.record.attempt)
    child = start_training(command, folder, attempt.environ, show_example=attempt.show_example)
    append_event(run.paths, "started", attempt=run.record.attempt, pid=child.pid)
    return follower.follow(child, requests, attempt.patience)


def _record(run: Run, folder: AttemptPaths, ending: Ending, outcome: Outcome, follower: Follower) -> Run:
    write_json(
        folder.exit,
        {
            **ending.to_json(),
            "state": outcome.state,
            "reason": outcome.reason,
            "phase": follower.phase,
            "global_step": outcome.global_step,
            "max_steps": outcome.max_steps,
            "diagnosis": outcome.diagnosis.to_json() if outcome.diagnosis else None,
            "logs": [str(path.relative_to(folder.root)) for path in relevant_logs(folder)],
            "stalls": [str(stall) for stall in follower.stalls],
            "warnings": [warning.to_json() for warning in follower.warnings],
            "probe": _read_probe(folder),
            "supervisor_cpu_s": round(time.process_time(), 3),
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


def _read_probe(folder: AttemptPaths) -> Any:
    """What became of the try with the longest batch on the first rank; None when there was none."""
    try:
        return orjson.loads(folder.rank(0).probe.read_bytes())
    except (OSError, ValueError):
        return None
