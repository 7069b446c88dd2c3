"""Tasks in several processes, with the results in order and their output lines in memory that is shared.

A pipe would copy the lines four times, and a file costs the kernel fresh pages for every chunk; the same few pages of
memory, again and again, cost one copy.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import mmap
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from lfwrap.data.convert.failed_row import failed_row
from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.chunk_plan import LARGEST_CHUNK_BYTES, Chunk, ChunkPlan, Layout, cut
from lfwrap.data.readers.detect import DetectedFile
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.workers.pool import Pool, calls_in_hand
from lfwrap.data.workers.processes import quickest_method
from lfwrap.data.workers.task import ChunkResult, Task, run_task
from lfwrap.errors import DataError

_SLOT_BYTES = 4 << 20
_BATCH_ROWS = 512

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that run tasks; with one job the caller's own process does the work.

    The start method may be any: tasks and results are plain data, and a worker imports what it needs. On Linux they
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
        """Prepare processes; they start with the first task.

        Args:
            jobs: how many; with 1 the caller's own does the work.
            scratch: a folder for what does not fit into shared memory.
            start_method: how they start, or None for the platform's quickest.
            tools: the catalogue that tasks name tools of; it goes to each process once, not with every task.
        """
        self.jobs = jobs
        method = start_method or quickest_method()
        self._slots = Slots(calls_in_hand(jobs), _SLOT_BYTES) if jobs > 1 and method == "fork" else None
        belongings = _Belongings(scratch, tools or {}, self._slots)
        self._pool = Pool(jobs, functools.partial(_keep, belongings), method)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def dismiss(self) -> None:
        """No more tasks will come: the processes end while their parent goes on."""
        self._pool.dismiss()

    def ordered(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, ChunkResult]]:
        """Every task with its result, in order; what is still under way when the caller stops is dropped.

        Raises:
            PreflightError: a worker was killed, most likely because memory ran out.
        """
        if self.jobs == 1:
            yield from ((task, run_task(task)) for task in tasks)
            return
        waiting: deque[_Call] = deque()
        try:
            calls = self._calls(tasks, waiting)
            with contextlib.closing(
                self._pool.ordered(_run_task, calls, lambda place: waiting[place].task.chunk.place())
            ) as results:
                for result, place in results:
                    result.lines = self._lines(place)
                    yield waiting[0].task, result
                    self._release(waiting.popleft())
        finally:
            for call in waiting:
                self._release(call)

    def map(self, run: Callable[[Argument], Result], arguments: Iterable[Argument]) -> Iterator[Result]:
        """The result of every call, in order.

        Args:
            run: what to call, a function of a module.
            arguments: what to call it with.

        Raises:
            PreflightError: a worker was killed, most likely because memory ran out.
        """
        return map(run, arguments) if self.jobs == 1 else self._pool.ordered(run, arguments)

    def _calls(self, tasks: Iterable[Task], waiting: deque[_Call]) -> Iterator[_Call]:
        for task in tasks:
            slot = self._slots.acquire() if self._slots else None
            waiting.append(_Call(task, slot))
            yield _Call(_without_tools(task), slot)

    def _lines(self, place: InSlot | Path) -> memoryview | bytes:
        """The lines of a result; those in a slot stand there until the next result is asked for."""
        if isinstance(place, Path):
            return take_from_file(place)
        assert self._slots is not None  # noqa: S101 - they are in one
        return self._slots.view(place)

    def _release(self, call: _Call) -> None:
        if self._slots is not None and call.slot is not None:
            self._slots.release(call.slot)


class _Call(NamedTuple):
    """A task, and the slot for its lines."""

    task: Task
    slot: int | None


class _Belongings(NamedTuple):
    """Values that a worker gets once, at its start, so that not every task carries them."""

    scratch: Path
    tools: Mapping[str, Tool]
    slots: Slots | None


_kept: list[_Belongings] = []


def _keep(belongings: _Belongings) -> None:
    _kept.append(belongings)


def _without_tools(task: Task) -> Task:
    options = task.conversion.options
    if not options.tools:
        return task
    return replace(task, conversion=replace(task.conversion, options=replace(options, tools={})))


def _run_task(call: _Call) -> tuple[ChunkResult, InSlot | Path]:
    """In a worker: a result, and where its lines are."""
    kept, task = _kept[0], call.task
    if kept.tools:
        options = replace(task.conversion.options, tools=kept.tools)
        task = replace(task, conversion=replace(task.conversion, options=options))
    result = run_task(task)
    lines, result.lines = result.lines, b""
    place = kept.slots.fill(call.slot, lines) if kept.slots is not None and call.slot is not None else None
    return result, place or put_in_file(lines, kept.scratch)


class InSlot(NamedTuple):
    """Where lines lie in shared memory."""

    slot: int
    size_bytes: int


class Slots:
    """Pieces of memory that processes forked later on share: a worker fills one, its parent reads it and frees it."""

    def __init__(self, count: int, size_bytes: int) -> None:
        """Reserve memory; none of it is taken before it is written to."""
        self._pieces = [mmap.mmap(-1, size_bytes) for _ in range(count)]
        self._free = list(range(count))

    def acquire(self) -> int:
        """A slot that nobody uses. Raises IndexError when there is none."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Let others use a slot."""
        self._free.append(slot)

    def fill(self, slot: int, lines: bytes | bytearray | memoryview) -> InSlot | None:
        """Put lines into a slot; None where they don't fit."""
        piece = self._pieces[slot]
        if len(lines) > len(piece):
            return None
        piece[: len(lines)] = lines
        return InSlot(slot, len(lines))

    def view(self, place: InSlot) -> memoryview:
        """The lines in a slot; they stand there until the slot is released."""
        return memoryview(self._pieces[place.slot])[: place.size_bytes]


def put_in_file(lines: bytes | bytearray | memoryview, folder: Path) -> Path:
    """A new file with these lines."""
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="lines.", dir=folder)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(lines)
    return Path(name)


def take_from_file(path: Path) -> bytes:
    """The lines of a file, which is gone afterwards."""
    content = path.read_bytes()
    path.unlink()
    return content


def whole_file(records: Iterable[SourceRecord]) -> Iterator[SourceRecord]:
    """The records that a reader of whole files yields; where the reader fails, one more that says so.

    What was read before is kept, and the rejected record says that the rest of the file is missing.
    """
    row = 0
    try:
        for record in records:
            row = record.row
            yield record
    except Exception as error:  # noqa: BLE001 - failed_row raises what is not of this place
        reject = failed_row(error)
        reason = f"{reject.reason}: the rest of this file was not read"
        yield SourceRecord(row + 1, None, Reject(reject.rule, reason))


class FileChunks:
    """One file, chunk by chunk through the workers, in order; after a wrong cut it goes on where a record ended."""

    def __init__(self, detected: DetectedFile, conversion: Conversion, workers: Workers, chunk_bytes: int) -> None:
        self.detected = detected
        self.conversion = conversion
        self.workers = workers
        self.chunk_bytes = chunk_bytes

    def results(self) -> Iterator[ChunkResult]:
        """The chunks' results in order, each with the rows and lines of the file before it.

        Raises:
            DataError: a record is too long, or something follows the list that the file is.
        """
        rows = 0
        for plan in (self.detected.plan, *self.detected.more):
            for result in self._results_of(plan):
                result.rows_before = rows
                yield result
                rows += result.rows

    def _results_of(self, plan: ChunkPlan) -> Iterator[ChunkResult]:
        if plan.layout is Layout.RECORDS:
            yield from (result for _, result in self.workers.ordered(self._batches()))
            return
        start, chunk_bytes, lines, is_misled = plan.start, self.chunk_bytes, plan.first_line, False
        while start < plan.size:
            for task, result in self.workers.ordered(self._tasks(plan, start, chunk_bytes, exactly=is_misled)):
                result.lines_before = lines
                if result.more_follows:
                    raise _more_follows(plan, lines + result.line_count + 1)
                yield result
                lines += result.line_count
                start = task.chunk.start + result.consumed_bytes
                if start < task.chunk.end:
                    break
            else:
                return
            is_misled = True
            chunk_bytes = self._next_chunk_bytes(chunk_bytes, task.chunk, result.consumed_bytes, lines)

    def _next_chunk_bytes(self, chunk_bytes: int, chunk: Chunk, consumed_bytes: int, lines_before: int) -> int:
        if consumed_bytes:
            return self.chunk_bytes
        if max(chunk_bytes, chunk.end - chunk.start) > LARGEST_CHUNK_BYTES:
            raise DataError(
                f"{chunk.plan.name or chunk.plan.path}:{lines_before + 1}"
                f"  no record ends within {chunk.end - chunk.start:,} bytes from byte {chunk.start:,} on",
                hint="Look for a quote or a bracket there that is never closed.",
            )
        return 2 * chunk_bytes

    def _tasks(self, plan: ChunkPlan, start: int, chunk_bytes: int, *, exactly: bool) -> Iterator[Task]:
        for chunk in cut(plan, start, chunk_bytes, exactly=exactly):
            yield Task(chunk, self.conversion, self.detected.plain_columns)

    def _batches(self) -> Iterator[Task]:
        records = whole_file(self.detected.records or iter(()))
        while batch := tuple(itertools.islice(records, _BATCH_ROWS)):
            yield Task(Chunk(self.detected.plan, 0, 0, batch), self.conversion, None)


def _more_follows(plan: ChunkPlan, line: int) -> DataError:
    return DataError(
        f"{plan.name or plan.path}:{line}  the list of records ends here, but more follows that can't be told apart",
        hint="Correct the file there; of several lists, put each into a file of its own.",
    )
