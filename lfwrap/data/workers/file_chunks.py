"""One file's chunks through the workers, in order; after a wrong cut it goes on where a record really ended."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.readers.chunk_plan import LARGEST_CHUNK_BYTES, Chunk, Layout, cut
from lfwrap.data.readers.detect import DetectedFile
from lfwrap.data.workers.parallel import Workers
from lfwrap.data.workers.task import ChunkResult, Task
from lfwrap.errors import DataError

_BATCH_ROWS = 512


class FileChunks:
    """One file, chunk by chunk through the workers."""

    def __init__(self, detected: DetectedFile, conversion: Conversion, workers: Workers, chunk_bytes: int) -> None:
        self.detected = detected
        self.conversion = conversion
        self.workers = workers
        self.chunk_bytes = chunk_bytes

    def results(self) -> Iterator[ChunkResult]:
        """The chunks' results in order, each with the rows and lines of the file before it."""
        plan, rows, lines = self.detected.plan, 0, self.detected.plan.first_line
        if plan.layout is Layout.RECORDS:
            for _, result in self.workers.ordered(self._batches()):
                result.rows_before = rows
                yield result
                rows += result.rows
            return
        start, chunk_bytes = plan.start, self.chunk_bytes
        while start < plan.size:
            for task, result in self.workers.ordered(self._tasks(start, chunk_bytes)):
                result.rows_before, result.lines_before = rows, lines
                yield result
                rows += result.rows
                lines += result.line_count
                start = task.chunk.start + result.consumed_bytes
                if start < task.chunk.end:
                    break
            else:
                return
            chunk_bytes = self._next_chunk_bytes(chunk_bytes, task.chunk, result.consumed_bytes)

    def _next_chunk_bytes(self, chunk_bytes: int, chunk: Chunk, consumed_bytes: int) -> int:
        if consumed_bytes:
            return self.chunk_bytes
        if chunk_bytes > LARGEST_CHUNK_BYTES:
            raise DataError(
                f"{chunk.plan.path}: no record ends within {chunk_bytes:,} bytes from byte {chunk.start:,} on",
                hint="Look for a quote or a bracket there that is never closed.",
            )
        return 2 * chunk_bytes

    def _tasks(self, start: int, chunk_bytes: int) -> Iterator[Task]:
        for chunk in cut(self.detected.plan, start, chunk_bytes):
            yield Task(chunk, self.conversion, self.detected.plain_columns)

    def _batches(self) -> Iterator[Task]:
        records: Iterator[SourceRecord] = self.detected.records or iter(())
        while batch := tuple(itertools.islice(records, _BATCH_ROWS)):
            yield Task(Chunk(self.detected.plan, 0, 0, batch), self.conversion, None)
