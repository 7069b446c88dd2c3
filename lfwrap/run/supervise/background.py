"""Look after a run in the background: lfwrap once more, in a session of its own, which no terminal can end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lfwrap.engine.child_process import note_start
from lfwrap.engine.diagnose import log_tail, read_tail
from lfwrap.errors import RunStateError
from lfwrap.run.folder.record import Run, RunState, append_event, load_run

_POLL_S = 0.1
_START_S = 120.0


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
    argv = [sys.executable, "-m", "lfwrap", "runs", "resume", str(run.paths.root), *arguments]
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
