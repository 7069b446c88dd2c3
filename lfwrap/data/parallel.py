"""Work on spans in several processes, with the results in order and only a few of them waiting."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from lfwrap.data.conversation import Tool
from lfwrap.data.handover import InSlot, Slots, put_in_file, take_from_file
from lfwrap.data.work import Outcome, Task, run_task
from lfwrap.errors import PreflightError

_AHEAD = 2
_SLOT_BYTES = 4 << 20
_PARENT_POLL_S = 1.0
_CHILD_POLL_S = 0.02
_GRACE_S = 5.0


def usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that run tasks; with one job the caller's own process does the work.

    The start method may be any: tasks and outcomes are plain data, and a worker imports what it needs. On Linux they
    are forked, which takes no time.
    """

    def __init__(
        self,
        jobs: int,
        scratch: Path,
        *,
        start_method: str | None = None,
        tools: Mapping[str, Tool] | None = None,
    ) -> None:
        """Start processes.

        Args:
            jobs: how many; with 1 the caller's own does the work.
            scratch: a folder for what does not fit into shared memory.
            start_method: how they start, or None for the platform's quickest.
            tools: the catalogue that tasks name tools of; it goes to each process once, not with every task.
        """
        self.jobs = jobs
        self._executor: ProcessPoolExecutor | None = None
        self._slots: Slots | None = None
        if jobs > 1:
            method = start_method or ("fork" if sys.platform == "linux" else "spawn")
            context = multiprocessing.get_context(method)
            if method == "fork":
                self._slots = Slots(jobs + _AHEAD, _SLOT_BYTES)
            belongings = _Belongings(scratch, tools or {}, self._slots)
            self._executor = ProcessPoolExecutor(
                jobs, context, initializer=_start_worker, initargs=(os.getpid(), belongings)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is None:
            return
        self._executor.shutdown(wait=kind is None, cancel_futures=True)
        if kind is not None:
            _end_children()

    def ordered(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, in order; what is still under way when the caller stops is dropped.

        Raises:
            PreflightError: a worker was killed, most likely for want of memory.
        """
        if self._executor is None:
            yield from ((task, run_task(task)) for task in tasks)
            return
        waiting: deque[_Pending] = deque()
        try:
            for task in tasks:
                waiting.append(self._submit(task))
                if len(waiting) >= self.jobs + _AHEAD:
                    yield from self._taken(waiting.popleft())
            while waiting:
                yield from self._taken(waiting.popleft())
        except BrokenProcessPool as error:
            raise PreflightError(
                "a worker process was killed, most likely for want of memory", hint="Try again with --jobs 1."
            ) from error
        finally:
            for pending in waiting:
                pending.future.cancel()
                pending.future.add_done_callback(lambda _, slot=pending.slot: self._release(slot))  # type: ignore[misc]

    def _submit(self, task: Task) -> _Pending:
        assert self._executor is not None  # noqa: S101 - `ordered` saw to it
        slot = self._slots.acquire() if self._slots else None
        return _Pending(task, slot, self._executor.submit(_run_task, _without_tools(task), slot))

    def _taken(self, pending: _Pending) -> Iterator[tuple[Task, Outcome]]:
        """A task with its outcome, whose lines stand in their slot until the next one is asked for."""
        try:
            outcome, place = pending.future.result()
            if isinstance(place, Path):
                outcome.lines = take_from_file(place)
            elif self._slots is not None:
                outcome.lines = self._slots.view(place)
            yield pending.task, outcome
        finally:
            self._release(pending.slot)

    def _release(self, slot: int | None) -> None:
        if self._slots is not None and slot is not None:
            self._slots.release(slot)


def _end_children() -> None:
    """Let workers finish what they are at, then end those that are left.

    One that is ended while it hands over its result leaves half a message, for whose end the executor would wait for
    ever. One that was being started when a signal came is not known to the executor, and would never be told to end.
    """
    deadline = time.monotonic() + _GRACE_S
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(_CHILD_POLL_S)
    for child in multiprocessing.active_children():
        child.terminate()


@dataclass(frozen=True, slots=True)
class _Pending:
    task: Task
    slot: int | None
    future: Future[tuple[Outcome, InSlot | Path]]


@dataclass(frozen=True, slots=True)
class _Belongings:
    """What a worker is given once: it would go with every task otherwise."""

    scratch: Path
    tools: Mapping[str, Tool]
    slots: Slots | None


_given: list[_Belongings] = []


def _without_tools(task: Task) -> Task:
    options = task.conversion.options
    if not options.tools:
        return task
    return replace(task, conversion=replace(task.conversion, options=replace(options, tools={})))


def _run_task(task: Task, slot: int | None) -> tuple[Outcome, InSlot | Path]:
    """In a worker: an outcome, and where its lines are."""
    given = _given[0]
    if given.tools:
        options = replace(task.conversion.options, tools=given.tools)
        task = replace(task, conversion=replace(task.conversion, options=options))
    outcome = run_task(task)
    lines, outcome.lines = outcome.lines, b""
    place = given.slots.fill(slot, lines) if given.slots is not None and slot is not None else None
    return outcome, place or put_in_file(lines, given.scratch)


def _start_worker(parent: int, given: _Belongings) -> None:
    """Leave signals to the parent, and end when it is gone, however it went."""
    _given.append(given)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)
