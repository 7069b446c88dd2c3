"""Worker scripts as children of the engine's Python: JSON lines through pipes, the log in a file that goes away.

A child has a session of its own, so that a terminal's ^C reaches lfwrap alone, and is ended with its whole process
group. A worker that reads requests also ends by itself when lfwrap dies: its stdin closes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import orjson

from lfwrap.engine.arguments import worker_argv
from lfwrap.engine.child_process import end_group, end_of_log, note_end, start_process
from lfwrap.engine.contract import EVENT_ERROR, Worker
from lfwrap.engine.failure import PLAIN_FAILURE, FailureText, ending, engine_failure, timeout_failure
from lfwrap.errors import EngineError

_GRACE_S = 3.0
_READ_BYTES = 1 << 16
_SHOWN_NOISE = 200


def run_worker(
    python: Path,
    name: Worker,
    job: Mapping[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str],
    timeout_s: float | None = None,
    text: FailureText = PLAIN_FAILURE,
) -> dict[str, Any]:
    """One job for a worker, the fields of one event as its result; nothing of the worker is left afterwards.

    Args:
        python: the engine's Python.
        name: the worker, such as ``encode``.
        job: what it reads from stdin; None for a worker that reads nothing.
        arguments: the worker's own arguments.
        environment: its whole environment.
        timeout_s: the time for all of it; None for any.
        text: what to say when it fails.

    Raises:
        PreflightError: the engine's Python can't be started.
        EngineError: the worker failed, has gone, or has not answered in time.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    with WorkerProcess(python, name, arguments, environment=environment, text=text) as worker:
        try:
            if job is not None:
                worker.send(job, deadline_s)
            event = worker.receive(deadline_s)
        except TimeoutError as error:
            raise timeout_failure(text.what or f"The engine's worker {name}", timeout_s or 0.0, text) from error
        worker.wait()
    return {name: value for name, value in event.items() if name != "event"}


class WorkerProcess:
    """One worker script at work. Use it as a context: on leaving, the child and its children are gone."""

    def __init__(
        self,
        python: Path,
        script: Worker,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        log: Path | None = None,
        text: FailureText = PLAIN_FAILURE,
    ) -> None:
        """Start a worker, such as ``answer``, with the engine's Python.

        Args:
            python: the engine's Python.
            script: the worker.
            arguments: the worker's own arguments.
            environment: its whole environment.
            cwd: its working directory; None is ours.
            log: the file to which its stderr is appended, and which stays; None for one that goes away.
            text: what to say when it fails.

        Raises:
            PreflightError: the engine's Python can't be started.
        """
        self._script = script
        self._text = text
        self._lines = _Lines()
        self._noise = ""
        self._started_s = time.monotonic()
        self._log: IO[bytes] = log.open("a+b") if log else tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        try:
            self._process = start_process(
                [str(python), *worker_argv(script), *arguments],
                environment=environment,
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
            )
        except BaseException:
            self._log.close()
            raise

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

    @property
    def has_ended(self) -> bool:
        """Whether the child has ended by itself."""
        return self._process.poll() is not None

    def send(self, request: Mapping[str, Any], deadline_s: float | None = None) -> None:
        """Give the child one request.

        Args:
            request: plain values.
            deadline_s: the time of `time.monotonic` until which the child may take it; None waits for as long as it
                lives.

        Raises:
            EngineError: it is gone.
            TimeoutError: it did not read the request in time.
        """
        try:
            _write(self._stdin.fileno(), orjson.dumps(request) + b"\n", deadline_s)
        except BrokenPipeError as error:
            raise self._last_words() from error

    def begin(self, job: Mapping[str, Any]) -> None:
        """Give the child its first request; one that can't take it is ended. Raises EngineError when it is gone."""
        try:
            self.send(job)
        except BaseException:
            self.close()
            raise

    def begin_and_wait(self, job: Mapping[str, Any], deadline_s: float | None = None) -> dict[str, Any]:
        """Give the child its first request, as `begin` does, and wait for its first event, as `receive` does."""
        self.begin(job)
        try:
            return self.receive(deadline_s)
        except BaseException:
            self.close()
            raise

    def receive(self, deadline_s: float | None = None) -> dict[str, Any]:
        """The child's next event; lines that are not one, as something that the engine imports may print, are skipped.

        Args:
            deadline_s: the time of `time.monotonic` until which it must be there; None waits for as long as it lives.

        Raises:
            EngineError: it reports that it failed, or it is gone.
            TimeoutError: there is no event in time.
        """
        while True:
            line = self._lines.next(self._stdout.fileno(), deadline_s)
            event = _json_object(line)
            if "event" in event:
                break
            self._noise = line.decode(errors="replace").strip()[:_SHOWN_NOISE] or self._noise
            if not line.endswith(b"\n"):
                raise self._failure()
        if event["event"] == EVENT_ERROR:
            raise engine_failure(self._text.what or "The engine failed", str(event.get("message")), 1, self._text)
        return event

    def events(self, deadline_s: float | None = None) -> Iterator[dict[str, Any]]:
        """The child's events for as long as they are asked for, each until the deadline. Raises as `receive` does."""
        while True:
            yield self.receive(deadline_s)

    def interrupt(self) -> None:
        """Ask the child to end the answer it is writing."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGINT)

    def log(self) -> str:
        """The end of what the child wrote to stderr."""
        return end_of_log(self._log)

    def wait(self, limit_s: float = _GRACE_S) -> None:
        """Give the child the time to end by itself, as one does that has done its only job."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(limit_s)

    def close(self) -> None:
        """End the child and whatever came of it."""
        self._stdin.close()
        end_group(self._process)
        note_end(self.pid, self._process.returncode, time.monotonic() - self._started_s)
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

    def _last_words(self) -> EngineError:
        """The error of a child that reads no more: what it still reported, else how it ended."""
        deadline_s = time.monotonic() + _GRACE_S
        try:
            while True:
                self.receive(deadline_s)
        except EngineError as error:
            return error
        except TimeoutError:
            return self._failure()

    def _failure(self) -> EngineError:
        self.wait()
        code = self._process.returncode
        what = self._text.what or f"The engine's worker {self._script} {ending(code)}"
        return engine_failure(what, f"{self._noise}\n{self.log()}", code, self._text)


def _json_object(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; empty for anything else."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


class _Lines:
    """Cuts what comes from a pipe into lines, each within a time."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def next(self, pipe: int, deadline_s: float | None) -> bytes:
        """The next line with its end; without one what was left when the pipe was closed. Raises TimeoutError."""
        start = 0
        while (end := self._pending.find(b"\n", start)) < 0:
            start = len(self._pending)
            _wait_for(pipe, select.POLLIN, deadline_s)
            piece = os.read(pipe, _READ_BYTES)
            if not piece:
                rest = bytes(self._pending)
                self._pending.clear()
                return rest
            self._pending += piece
        with memoryview(self._pending) as view, view[: end + 1] as first:
            line = bytes(first)  # one copy: a worker's answer may be hundreds of megabytes
        del self._pending[: end + 1]
        return line


def _write(pipe: int, data: bytes, deadline_s: float | None) -> None:
    """Write all of it. Raises TimeoutError, and BrokenPipeError when nobody reads any more."""
    rest = memoryview(data)
    while rest:
        _wait_for(pipe, select.POLLOUT, deadline_s)
        # A pipe that is ready takes this much without blocking.
        rest = rest[os.write(pipe, rest if deadline_s is None else rest[: select.PIPE_BUF]) :]


def _wait_for(pipe: int, event: int, deadline_s: float | None) -> None:
    """Wait until a pipe can be read or written; without a deadline the call that follows waits. Raises TimeoutError."""
    if deadline_s is None:
        return
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1000):
        raise TimeoutError
