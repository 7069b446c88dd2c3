"""The processes that make trials for `lfwrap tune`: one for each GPU, importing the engine ahead of their turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.errors import EngineError

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
        self._members: list[WorkerProcess] = []
        try:
            for _ in range(start.size):
                member = WorkerProcess(
                    start.python, "tune_engine", environment=start.environment, cwd=start.cwd, log=start.log
                )
                self._members.append(member)
        except BaseException:
            self.close()
            raise

    def wait_ready(self, deadline_s: float) -> bool:
        """Whether all have imported the engine by this time of `time.monotonic`."""
        if not self._is_ready:
            events = [_next_event(member, deadline_s) for member in self._members]
            self.forks = all(event is not None and event["forks"] for event in events)
            self._is_ready = all(event is not None for event in events)
        return self._is_ready

    def run(self, requests: Sequence[Mapping[str, Any]], deadline_s: float) -> bool:
        """Make one trial, a request for each process; whether all of them ended by then."""
        for member, request in zip(self._members, requests, strict=True):
            try:
                member.send(request, deadline_s)
            except EngineError:
                return True
            except TimeoutError:
                return False
        in_time = True
        for number, member in enumerate(self._members):
            limit_s = deadline_s if number == 0 else min(deadline_s, time.monotonic() + _STRAGGLERS_S)
            in_time &= _next_event(member, limit_s) is not None or member.has_ended
        return in_time

    def close(self) -> None:
        """End the processes and their children."""
        for member in self._members:
            member.close()
        self._members = []


def _next_event(member: WorkerProcess, deadline_s: float) -> dict[str, Any] | None:
    """The next event of a process; None when it is gone, or too late."""
    try:
        return member.receive(deadline_s)
    except (EngineError, TimeoutError):
        return None
