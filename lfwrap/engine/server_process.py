"""A program that serves a port until it is ended: its log in a file that goes away, its group ended with it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from lfwrap.engine.child_process import end_group, end_of_log, note_end, start_process
from lfwrap.engine.failure import PLAIN_FAILURE, FailureText, ending, engine_failure, timeout_failure
from lfwrap.errors import EngineError


class ServerProcess:
    """A server at work. Use it as a context: on leaving, it and its children are gone."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        text: FailureText = PLAIN_FAILURE,
    ) -> None:
        """Start a server.

        Args:
            argv: program and arguments.
            environment: its whole environment.
            cwd: its working directory; None is ours.
            text: what to say when it fails.

        Raises:
            PreflightError: it can't be started.
        """
        self._what = text.what or Path(argv[0]).name
        self._text = text
        self._started_s = time.monotonic()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        try:
            self._process = start_process(argv, environment=environment, cwd=cwd, stdout=self._log, stderr=self._log)
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server and whatever came of it."""
        end_group(self._process)
        note_end(self._process.pid, self._process.returncode, time.monotonic() - self._started_s)
        self._log.close()

    @property
    def pid(self) -> int:
        """The server's process id, also that of its group."""
        return self._process.pid

    def wait_until(self, is_up: Callable[[], bool], *, limit_s: float, poll_s: float) -> None:
        """Wait until it answers.

        Args:
            is_up: whether it does.
            limit_s: how long it may take.
            poll_s: between two looks.

        Raises:
            EngineError: it has ended, or takes longer.
        """
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise self._failure()
            if is_up():
                return
            time.sleep(poll_s)
        raise timeout_failure(self._what, limit_s, self._text)

    def wait(self) -> None:
        """Wait until it ends by itself. Raises EngineError when it fails."""
        if self._process.wait() != 0:
            raise self._failure()

    def _failure(self) -> EngineError:
        code = self._process.returncode
        return engine_failure(f"{self._what} {ending(code)}", end_of_log(self._log), code, self._text)
