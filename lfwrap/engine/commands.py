"""Commands of the engine that are not workers: run with a log, run in the user's terminal, or run to test imports."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lfwrap.engine.child_process import end_group, note_end, note_start, start_child, start_process, sweep
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.engine.diagnose import read_tail
from lfwrap.engine.failure import ending, engine_failure, start_failure, timeout_failure

_POLL_S = 0.05


def run_logged(argv: Sequence[str], scratch: Path, *, environment: Mapping[str, str], what: str) -> None:
    """Run a command of the engine's with its output in ``scratch``; nothing of it is left running afterwards.

    Args:
        argv: program and arguments.
        scratch: the working directory, which gets ``stdout.log`` and ``stderr.log``.
        environment: its whole environment.
        what: what is run, as the beginning of an error's message.

    Raises:
        EngineError: it failed; with its last words and a diagnosis.
        PreflightError: it can't be started.
    """
    stdout, stderr = scratch / "stdout.log", scratch / "stderr.log"
    for log in (stdout, stderr):
        log.unlink(missing_ok=True)
    marked = {**environment, RUN_VARIABLE: str(scratch)}
    child = start_child(argv, cwd=scratch, environment=marked, stdout=stdout, stderr=stderr, show_example=False)
    try:
        while child.poll() is None:
            time.sleep(_POLL_S)
    finally:
        sweep(child)
        child.close()
    code = child.poll() or 0
    if code:
        raise engine_failure(f"{what} {ending(code)}", read_tail(stdout) + read_tail(stderr), code)


def run_shown(argv: Sequence[str], *, environment: Mapping[str, str]) -> int:
    """Run a command with its output on our stderr, stopped by the same ^C; returns its exit code.

    Raises:
        PreflightError: it can't be started.
    """
    note_start(argv, environment, None)
    started_s = time.monotonic()
    try:
        done = subprocess.run(list(argv), stdout=2, env=dict(environment), check=False)
    except (OSError, ValueError) as error:
        raise start_failure(argv[0], error) from error
    note_end(None, done.returncode, time.monotonic() - started_s)
    return done.returncode


def captured_output(argv: Sequence[str], *, environment: Mapping[str, str], timeout_s: float, what: str) -> bytes:
    """What a command of the engine's prints; nothing of it is left running afterwards.

    Args:
        argv: program and arguments.
        environment: its whole environment.
        timeout_s: the time it may take.
        what: what is run, as the beginning of an error's message.

    Raises:
        EngineError: it failed, or took longer.
        PreflightError: it can't be started.
    """
    try:
        done = _run_captured(argv, environment, timeout_s)
    except TimeoutError as error:
        raise timeout_failure(what, timeout_s) from error
    if done.exit_code:
        raise engine_failure(f"{what} {ending(done.exit_code)}", done.stderr.decode(errors="replace"), done.exit_code)
    return done.stdout


def import_problem(
    python: Path, modules: Sequence[str], *, environment: Mapping[str, str], timeout_s: float
) -> str | None:
    """Why modules can't be imported by the engine's Python, in their own last words; None when they can.

    Args:
        python: the engine's Python.
        modules: their names, with dots.
        environment: its whole environment.
        timeout_s: the time that importing them may take.

    Raises:
        PreflightError: the engine's Python can't be started.
    """
    try:
        done = _run_captured([str(python), "-c", f"import {', '.join(modules)}"], environment, timeout_s)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return None if done.exit_code == 0 else (lines[-1] if lines else f"it {ending(done.exit_code)}")


class _Captured(NamedTuple):
    exit_code: int
    stdout: bytes
    stderr: bytes


def _run_captured(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> _Captured:
    """Run a command to its end, its output in files that go away. Raises TimeoutError, and as `start_process` does."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started_s = time.monotonic()
        child = start_process(argv, environment=environment, stdout=stdout, stderr=stderr)
        try:
            exit_code = child.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        finally:
            end_group(child)
            note_end(child.pid, child.returncode, time.monotonic() - started_s)
        stdout.seek(0)
        stderr.seek(0)
        return _Captured(exit_code, stdout.read(), stderr.read())
