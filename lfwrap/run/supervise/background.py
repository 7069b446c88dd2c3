"""Runs that another process looks after: lfwrap in the background, or a scheduler; and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lfwrap import debug
from lfwrap.engine.child_process import note_start, run_processes, send, training_ranks
from lfwrap.engine.diagnose import log_tail, read_tail
from lfwrap.errors import PreflightError, RunStateError
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import Run, RunState, append_event, load_run
from lfwrap.run.launch.command import Command

_POLL_S = 0.1
_START_S = 120.0
_SUBMIT_S = 600.0


def start_detached(run: Run, arguments: Sequence[str], *, cwd: Path, environ: Mapping[str, str]) -> Run:
    """Go on with a prepared or interrupted run in the background; returns it once it runs.

    Its supervisor's own messages go to ``supervisor.log`` in the run's folder.

    Args:
        run: a run that may be started.
        arguments: options of ``lfwrap runs resume``.
        cwd: the folder that relative paths count from.
        environ: the whole environment.

    Raises:
        RunStateError: the background process has ended before the engine was started.
    """
    shown = ["--debug"] if debug.is_shown("engine") else []
    argv = [sys.executable, "-m", "lfwrap", *shown, "runs", "resume", str(run.paths.root), *arguments]
    note_start(argv, environ, cwd)
    with run.paths.supervisor_log.open("ab") as log:
        supervisor = subprocess.Popen(
            argv,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    append_event(run.paths, "detached", pid=supervisor.pid, by=os.getpid())
    deadline = time.monotonic() + _START_S
    while supervisor.poll() is None and time.monotonic() < deadline:
        now = load_run(run.paths.root)
        if now.record.state is RunState.RUNNING and now.record.attempt > run.record.attempt:
            return now
        time.sleep(_POLL_S)
    if supervisor.poll() is None:
        return load_run(run.paths.root)
    raise RunStateError(
        f"{run.paths.name}: could not be started in the background: "
        f"{' '.join(log_tail([read_tail(run.paths.supervisor_log)]))}",
        hint=f"See {run.paths.supervisor_log}, or start it without --detach.",
    )


def submit(command: Command, paths: RunPaths) -> str:
    """Run the scheduler's own command; returns its answer, such as the job's number, and notes it in the run's events.

    Raises:
        PreflightError: it refuses the job, or does not answer.
    """
    environment = {**os.environ, **command.environment}
    note_start(command.argv, environment, command.cwd)
    try:
        answer = subprocess.run(
            command.argv,
            cwd=command.cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SUBMIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PreflightError(f"{command.argv[0]}: does not answer: {error}", hint=_again(command)) from error
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip()
        raise PreflightError(f"{command.argv[0]} refuses the job: {said}", hint=_again(command))
    number = answer.stdout.strip()
    append_event(paths, "submitted", to=command.argv[0], answer=number)
    return number


def _again(command: Command) -> str:
    return f"The run is prepared; once this is fixed, run: {command.quoted}"


def request_stop(run: Run) -> int:
    """Send the run's supervisor a SIGTERM, as a scheduler would; of a lost run, end what is left. Returns how many.

    Raises:
        RunStateError: the run is not running, or runs on another machine.
    """
    record = run.record
    if record.state is RunState.RUNNING and record.supervisor is not None:
        if record.supervisor.host != os.uname().nodename:
            raise RunStateError(
                f"{record.name}: runs on {record.supervisor.host}", hint="Stop it there: lfwrap runs stop."
            )
        os.kill(record.supervisor.pid, signal.SIGTERM)
        return 1
    left = run_processes(str(run.paths.root))
    if not left:
        raise RunStateError(
            f"{record.name}: is {record.state}, none of its processes runs", hint="See `lfwrap runs list`."
        )
    send(training_ranks(left) or left, signal.SIGTERM)
    return len(left)


def kill_run(run: Run) -> int:
    """SIGKILL every process of the run but its supervisor, which then records the end. Returns how many there were."""
    left = run_processes(str(run.paths.root))
    send(left, signal.SIGKILL)
    return len(left)


def wait_until_stopped(root: Path, timeout_s: float) -> Run | None:
    """The run once none of its processes runs any more; None when it still does after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        run = load_run(root)
        if run.record.state is not RunState.RUNNING and not run_processes(str(run.paths.root)):
            return run
        time.sleep(_POLL_S)
    return None
