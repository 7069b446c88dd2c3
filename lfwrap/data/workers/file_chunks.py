"""One file's spans through the workers, in order, whatever its cuts turn out to be worth."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.readers.blocks import Layout, Span
from lfwrap.data.readers.chunk_plan import LARGEST_SPAN_BYTES, cut
from lfwrap.data.readers.detect import Look
from lfwrap.data.workers.parallel import Workers
from lfwrap.data.workers.task import Outcome, Task
from lfwrap.errors import DataError

_BATCH_ROWS = 512


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a span, and what stood before it in its file."""

    outcome: Outcome
    rows_before: int
    lines_before: int


class SourceFile:
    """One file's spans through the workers, read on from where a record really ended."""

    def __init__(self, look: Look, conversion: Conversion, workers: Workers, span_bytes: int) -> None:
        self.look = look
        self.conversion = conversion
        self.workers = workers
        self.span_bytes = span_bytes

    def steps(self) -> Iterator[Step]:
        """Outcomes in order, with the rows and lines before each."""
        plan, rows, lines = self.look.plan, 0, self.look.plan.first_line
        if plan.layout is Layout.RECORDS:
            for _, outcome in self.workers.ordered(self._batches(plan.path)):
                yield Step(outcome, rows, 0)
                rows += outcome.rows
            return
        start, span_bytes = plan.start, self.span_bytes
        while start < plan.size:
            for task, outcome in self.workers.ordered(self._tasks(start, span_bytes)):
                yield Step(outcome, rows, lines)
                rows += outcome.rows
                lines += outcome.line_count
                start = task.span.start + outcome.consumed_bytes
                if start < task.span.end:
                    break
            else:
                return
            span_bytes = self._next_span_bytes(span_bytes, task.span, outcome.consumed_bytes)

    def _next_span_bytes(self, span_bytes: int, span: Span, consumed_bytes: int) -> int:
        if consumed_bytes:
            return self.span_bytes
        if span_bytes > LARGEST_SPAN_BYTES:
            raise DataError(
                f"{span.path}: no record ends within {span_bytes:,} bytes from byte {span.start:,} on",
                hint="Look for a quote or a bracket there that is never closed.",
            )
        return 2 * span_bytes

    def _tasks(self, start: int, span_bytes: int) -> Iterator[Task]:
        for span in cut(self.look.plan, start, span_bytes):
            yield Task(span, self.conversion, self.look.shape)

    def _batches(self, path: Path) -> Iterator[Task]:
        records: Iterator[SourceRecord] = self.look.records or iter(())
        while batch := tuple(itertools.islice(records, _BATCH_ROWS)):
            span = Span(Layout.RECORDS, path, 0, 0, final=False, records=batch)
            yield Task(span, self.conversion, None)
