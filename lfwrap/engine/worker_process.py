"""Worker scripts as children of the engine's Python: JSON lines through pipes, the log in a file that goes away.

A child has a session of its own, so that a terminal's ^C reaches lfwrap alone, and is ended with its whole process
group. A worker that reads requests also ends by itself when lfwrap dies: its stdin closes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import orjson

from lfwrap.engine.diagnose import diagnose
from lfwrap.engine.worker_scripts import worker_argv
from lfwrap.errors import EngineError, PreflightError

_TAIL_BYTES = 16_384
_GRACE_S = 3.0


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a child that leads a process group, and everything in it: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            if number is signal.SIGKILL or not _group_lives(process.pid):
                return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ending(returncode: int | None) -> str:
    """How a child ended, in words."""
    if returncode is not None and returncode < 0:
        name = signal.Signals(-returncode).name
        return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended with exit code {returncode}"


def engine_failure(what: str, log: str, exit_code: int) -> EngineError:
    """The error to raise for a child that failed: what it was, its last line, the remedy where the fault is known."""
    found = diagnose([log], exit_code)
    known = found.rule != "unknown"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    reason = found.evidence or (found.message if known or not lines else _telling(found.message, lines))
    return EngineError(f"{what}: {reason}", hint=found.remedy if known else "`lfwrap doctor` checks the installation.")


def _telling(message: str, lines: Sequence[str]) -> str:
    return message if any(message in line for line in lines) else lines[-1]


class WorkerProcess:
    """One worker script at work. Use it as a context: on leaving, the child and its children are gone."""

    def __init__(
        self, python: Path, script: str, arguments: Sequence[str] = (), *, environment: Mapping[str, str]
    ) -> None:
        """Start a worker, such as ``answer``, with the engine's Python.

        Raises:
            PreflightError: the engine's Python can't be started.
        """
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self._script = script
        try:
            self._process = subprocess.Popen(
                [str(python), *worker_argv(script), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise PreflightError(
                f"{python}: can't be started: {error.strerror}", hint="`lfwrap doctor` says what is missing."
            ) from error

    def __enter__(self) -> Self:
        """The child itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self.close()

    @property
    def pid(self) -> int:
        """The child's process id, also that of its group."""
        return self._process.pid

    def send(self, request: Mapping[str, Any]) -> None:
        """Give the child one request. Raises EngineError when it is gone."""
        try:
            self._stdin.write(orjson.dumps(request) + b"\n")
            self._stdin.flush()
        except BrokenPipeError as error:
            raise self._failure() from error

    def begin(self, job: Mapping[str, Any]) -> None:
        """Give the child its first request; one that can't take it is ended. Raises EngineError when it is gone."""
        try:
            self.send(job)
        except BaseException:
            self.close()
            raise

    def receive(self) -> dict[str, Any]:
        """The child's next event.

        Raises:
            EngineError: it reports that it failed, or it is gone.
        """
        line = self._stdout.readline()
        if not line:
            raise self._failure()
        event: dict[str, Any] = orjson.loads(line)
        if event.get("event") == "error":
            raise engine_failure("The engine failed", event["message"], 1)
        return event

    def events(self) -> Iterator[dict[str, Any]]:
        """The child's events as long as one wants them. Raises as `receive` does."""
        while True:
            yield self.receive()

    def interrupt(self) -> None:
        """Ask the child to end the answer it is writing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def log(self) -> str:
        """The end of what the child wrote to stderr."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _TAIL_BYTES))
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End the child and whatever came of it."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        end_group(self._process)
        self._stdout.close()
        self._log.close()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        return self._process.stdout

    def _failure(self) -> EngineError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        code = self._process.returncode
        return engine_failure(f"The engine's {self._script}.py {ending(code)}", self.log(), code or 0)
