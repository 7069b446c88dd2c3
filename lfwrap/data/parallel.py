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
from dataclasses import replace
from types import TracebackType
from typing import Self

from lfwrap.data.conversation import Tool
from lfwrap.data.work import Outcome, Task, run_task
from lfwrap.errors import PreflightError

_AHEAD = 2
_PARENT_POLL_S = 1.0


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

    def __init__(self, jobs: int, start_method: str | None = None, tools: Mapping[str, Tool] | None = None) -> None:
        """Start processes.

        Args:
            jobs: how many; with 1 the caller's own does the work.
            start_method: how they start, or None for the platform's quickest.
            tools: the catalogue that tasks name tools of; it goes to each process once, not with every task.
        """
        self.jobs = jobs
        self._executor: ProcessPoolExecutor | None = None
        if jobs > 1:
            method = start_method or ("fork" if sys.platform == "linux" else "spawn")
            context = multiprocessing.get_context(method)
            self._executor = ProcessPoolExecutor(
                jobs, context, initializer=_start_worker, initargs=(os.getpid(), tools or {})
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is None:
            return
        if kind is not None:
            # A signal may come while the executor starts its processes: the newest is not yet known to it, and would be
            # waited for at the end, for ever.
            for child in multiprocessing.active_children():
                child.terminate()
        self._executor.shutdown(wait=kind is None, cancel_futures=True)

    def ordered(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Every task with its outcome, in order; what is still under way when the caller stops is dropped.

        Raises:
            PreflightError: a worker was killed, most likely for want of memory.
        """
        if self._executor is None:
            yield from ((task, run_task(task)) for task in tasks)
            return
        waiting: deque[tuple[Task, Future[Outcome]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, self._executor.submit(_run_task, _without_tools(task))))
                if len(waiting) >= self.jobs + _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as error:
            raise PreflightError(
                "a worker process was killed, most likely for want of memory", hint="Try again with --jobs 1."
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


_catalogue: dict[str, Tool] = {}


def _without_tools(task: Task) -> Task:
    options = task.conversion.options
    if not options.tools:
        return task
    return replace(task, conversion=replace(task.conversion, options=replace(options, tools={})))


def _run_task(task: Task) -> Outcome:
    if not _catalogue:
        return run_task(task)
    options = replace(task.conversion.options, tools=_catalogue)
    return run_task(replace(task, conversion=replace(task.conversion, options=options)))


def _start_worker(parent: int, tools: Mapping[str, Tool]) -> None:
    """Leave signals to the parent, and end when it is gone, however it went."""
    _catalogue.update(tools)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)
