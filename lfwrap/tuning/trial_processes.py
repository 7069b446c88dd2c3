"""The processes that make trials for `lfwrap tune`: one for each GPU, importing the engine ahead of their turn."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from lfwrap.engine.worker_process import end_group
from lfwrap.engine.worker_scripts import worker_argv
from lfwrap.errors import PreflightError

_STRAGGLERS_S = 10.0  # once one process has ended, the others are done in no time, or never


@dataclass(frozen=True, slots=True)
class EngineStart:
    """How the engine's processes are started.

    Attributes:
        python: the engine's Python.
        size: processes, one for each GPU.
        environment: their whole environment.
        cwd: their working directory.
        log: the file for what they write before their first trial.
    """

    python: Path
    size: int
    environment: Mapping[str, str]
    cwd: Path
    log: Path


class TrialTeam:
    """The processes of one trial, or, where they can fork, of all trials."""

    def __init__(self, start: EngineStart) -> None:
        """Start them; they import the engine and wait. Raises PreflightError when they can't be started."""
        self.forks = False
        self._is_ready = False
        self._pending: dict[int, bytes] = {}
        command = [str(start.python), "-u", *worker_argv("tune_engine")]
        self._members: list[subprocess.Popen[bytes]] = []
        try:
            with start.log.open("ab") as log:
                for _ in range(start.size):
                    member = subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        env=dict(start.environment),
                        cwd=start.cwd,
                        start_new_session=True,
                    )
                    self._members.append(member)
        except OSError as error:
            self.close()
            raise PreflightError(
                f"{start.python}: can't be started: {error.strerror}", hint="`lfwrap doctor` says what is missing."
            ) from error

    def wait_ready(self, deadline_s: float) -> bool:
        """Whether all have imported the engine by this time of `time.monotonic`."""
        if not self._is_ready:
            events = [self._receive(member, deadline_s) for member in self._members]
            self.forks = all(event is not None and event["forks"] for event in events)
            self._is_ready = all(event is not None for event in events)
        return self._is_ready

    def run(self, requests: Sequence[Mapping[str, Any]], deadline_s: float) -> bool:
        """Make one trial, a request for each process; whether all of them ended by then."""
        for member, request in zip(self._members, requests, strict=True):
            sink = _stream(member.stdin)
            try:
                sink.write(orjson.dumps(request) + b"\n")
                sink.flush()
            except BrokenPipeError:
                return True
        in_time = True
        for number, member in enumerate(self._members):
            limit_s = deadline_s if number == 0 else min(deadline_s, time.monotonic() + _STRAGGLERS_S)
            in_time &= self._receive(member, limit_s) is not None or member.poll() is not None
        return in_time

    def close(self) -> None:
        """End them, and whatever came of them."""
        for member in self._members:
            end_group(member)
            _stream(member.stdin).close()
            _stream(member.stdout).close()
        self._members = []

    def _receive(self, member: subprocess.Popen[bytes], deadline_s: float) -> dict[str, Any] | None:
        """The next event of a process; None when it is gone, or too late."""
        stdout = _stream(member.stdout)
        text = self._pending.pop(member.pid, b"")
        while b"\n" not in text:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([stdout], [], [], left_s)[0]:
                self._pending[member.pid] = text
                return None
            piece = os.read(stdout.fileno(), 65536)
            if not piece:
                member.wait()
                return None
            text += piece
        line, _, self._pending[member.pid] = text.partition(b"\n")
        event: dict[str, Any] = orjson.loads(line)
        return event


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - pipes were asked for
    return pipe
