"""Hand a prepared run to a scheduler."""

from __future__ import annotations

import os
import subprocess

from lfwrap.engine.child_process import note_start
from lfwrap.errors import PreflightError
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import append_event
from lfwrap.run.launch.command import Command

_TIMEOUT_S = 600.0


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
            timeout=_TIMEOUT_S,
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
    return f"The run is prepared; once that is mended: {command.quoted}"
