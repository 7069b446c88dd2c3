"""Ask a run to stop, from another terminal."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lfwrap.engine.child_process import run_processes, send, training_ranks
from lfwrap.errors import RunStateError
from lfwrap.run.folder.record import Run, RunState, load_run

_POLL_S = 0.2


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
        raise RunStateError(f"{record.name}: is {record.state}, nothing of it runs", hint="See `lfwrap runs list`.")
    send(training_ranks(left) or left, signal.SIGTERM)
    return len(left)


def kill_run(run: Run) -> int:
    """SIGKILL every process of the run but its supervisor, which then records the end. Returns how many there were."""
    left = run_processes(str(run.paths.root))
    send(left, signal.SIGKILL)
    return len(left)


def wait_until_stopped(root: Path, timeout_s: float) -> Run | None:
    """The run once nothing of it runs any more; None when it still does after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        run = load_run(root)
        if run.record.state is not RunState.RUNNING and not run_processes(str(run.paths.root)):
            return run
        time.sleep(_POLL_S)
    return None
