"""Where to cut a file: chunks of about 1 MiB that most probably end with a record; their blocks make sure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from lfwrap.data.formats.base import SourceRecord
from lfwrap.errors import DataError

CHUNK_BYTES = 1 << 20
# No line, list item or record may be longer: it would have to be held in memory several times.
LARGEST_RECORD_BYTES = 64 << 20
LARGEST_CHUNK_BYTES = LARGEST_RECORD_BYTES
_WINDOW_BYTES = 1 << 16
_SEARCH_BYTES = 4 << 20


class Layout(StrEnum):
    """How records are laid out in a file."""

    LINES = "lines"
    ARRAY = "array"
    CSV = "csv"
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """How a file is read and cut.

    Attributes:
        layout: how its records are laid out.
        path: the file (UTF-8).
        start: offset of the first record.
        size: offset after the last record: the length of the file, or the end of a list within it.
        first_line: 0-based physical line of the first record.
        header: CSV: the column names.
        delimiter: CSV: what separates cells.
        spelled: CSV: the cells of the header as they stand there, where these are not the column names.
        skips_space: CSV: whether white space after each delimiter belongs to no cell.
        key: ARRAY in a wrapper: its key.
        name: the file as the user named it.
        first_key: ARRAY: how the first item begins (`opening_of`), by which items are told from what they hold.
    """

    layout: Layout
    path: Path
    start: int
    size: int
    first_line: int = 0
    header: tuple[str, ...] = ()
    delimiter: str = ","
    spelled: tuple[str, ...] = ()
    skips_space: bool = False
    key: str = ""
    first_key: bytes = b""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one process reads at a time: bytes of a file, or records that were read already.

    Attributes:
        plan: how the file is read.
        start: offset of the first byte.
        end: offset after the last byte.
        records: RECORDS: the records themselves.
    """

    plan: ChunkPlan
    start: int
    end: int
    records: tuple[SourceRecord, ...] = ()

    @property
    def final(self) -> bool:
        """Whether nothing follows in the file."""
        return self.end >= self.plan.size

    def place(self) -> str:
        """Which part of its file it is, in words: rows that were read already, else lines."""
        if self.records:
            return f"rows {self.records[0].row:,} to {self.records[-1].row:,} of {self.plan.path}"
        first = self.plan.first_line + 1
        with self.plan.path.open("rb") as source:
            source.seek(self.plan.start)
            first += _line_breaks(source, self.start - self.plan.start)
            last = first + _line_breaks(source, self.end - self.start - 1)
        return f"lines {first:,} to {last:,} of {self.plan.path}"

    def read(self) -> bytes:
        """The bytes of the chunk."""
        with self.plan.path.open("rb") as source:
            source.seek(self.start)
            return source.read(self.end - self.start)


def _line_breaks(source: IO[bytes], size: int) -> int:
    """How many lines end in the next bytes of a file."""
    found = 0
    while size > 0 and (piece := source.read(min(size, _WINDOW_BYTES))):
        found += piece.count(b"\n")
        size -= len(piece)
    return found


def cut(plan: ChunkPlan, start: int, chunk_bytes: int, *, exactly: bool = False) -> Iterator[Chunk]:
    """Chunks of about ``chunk_bytes`` from ``start`` to the end of the file, without gaps.

    Args:
        plan: how the file is read.
        start: where a record starts.
        chunk_bytes: the size to aim at.
        exactly: CSV: read all rows to find where they end, because in this file counting quotes led astray.
    """
    find_end = {Layout.LINES: _end_of_line, Layout.CSV: _end_of_row, Layout.ARRAY: _end_of_item}[plan.layout]
    if exactly and plan.layout is Layout.CSV:
        find_end = _end_of_read_row
    with plan.path.open("rb") as source:
        while start < plan.size:
            end = plan.size if start + chunk_bytes >= plan.size else find_end(source, plan, start, start + chunk_bytes)
            yield Chunk(plan, start, end)
            start = end


def _end_of_line(source: IO[bytes], plan: ChunkPlan, start: int, end: int) -> int:  # noqa: ARG001 - one signature for three
    source.seek(end)
    _line(source, plan)
    return min(source.tell(), plan.size)


def _line(source: IO[bytes], plan: ChunkPlan) -> bytes:
    """The rest of a line; never more of it in memory than a record may be long."""
    line = source.readline(LARGEST_RECORD_BYTES)
    if len(line) == LARGEST_RECORD_BYTES and not line.endswith(b"\n"):
        raise too_long(plan, source.tell() - len(line), "line")
    return line


def _end_of_row(source: IO[bytes], plan: ChunkPlan, start: int, end: int) -> int:
    """The end of the first line after ``end`` with an even number of quotes before it: no cell is open there.

    Where none is near, a cell goes on for long or holds a lone quote: then the rows are read.
    """
    source.seek(start)
    quotes = source.read(end - start).count(b'"')
    while line := _line(source, plan):
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            end_of_row = source.tell()
            if _may_begin_a_row(_line(source, plan), plan):
                return end_of_row
            return _end_of_read_row(source, plan, start, end)
        if source.tell() - end > _WINDOW_BYTES:
            return _end_of_read_row(source, plan, start, end)
    return plan.size


def _may_begin_a_row(line: bytes, plan: ChunkPlan) -> bool:
    """Whether a line holds as many cells as the header, a quote, or nothing; a line of prose in a cell has fewer."""
    return line.count(plan.delimiter.encode()) >= len(plan.header) - 1 or b'"' in line or not line.strip()


def _end_of_read_row(source: IO[bytes], plan: ChunkPlan, start: int, end: int) -> int:
    from lfwrap.data.readers.tables.row_borders import end_of_csv_row

    return min(
        end_of_csv_row(source, plan.delimiter, start, end, LARGEST_CHUNK_BYTES, skips_space=plan.skips_space), plan.size
    )


def _end_of_item(source: IO[bytes], plan: ChunkPlan, start: int, end: int) -> int:  # noqa: ARG001
    """After the comma between two items of which the second begins like all of them."""
    closing = {b"{": rb"\}", b"[": rb"\]"}.get(plan.first_key[:1], rb"[}\]]")
    separator = re.compile(closing + rb"\s*,(?=\s*" + opening_pattern(plan.first_key) + rb")")
    window, offset = b"", end
    source.seek(end)
    while more := source.read(_WINDOW_BYTES):
        window += more
        if match := separator.search(window):
            return min(offset + match.end(), plan.size)
        if offset + len(window) >= plan.size:
            break
        if offset - end > LARGEST_RECORD_BYTES:
            raise too_long(plan, end, "list item")
        if offset - end > _SEARCH_BYTES:
            separator = re.compile(rb"[}\]]\s*,(?=\s*[\[{])")
        offset += max(0, len(window) - _OVERLAP_BYTES)
        window = window[-_OVERLAP_BYTES:]
    return plan.size


_OVERLAP_BYTES = 1 << 12
_OPENING = re.compile(rb'[\[{](?:\s*[\[{])*(?:\s*"(?:[^"\\]|\\.)*+")?')


def opening_of(text: bytes) -> bytes:
    """How the first item of a list begins: its brackets and its first key, as they stand there.

    >>> opening_of(b'{"id": 1}, {"id": 2}]'), opening_of(b'[ {"role": "user"} ]')
    (b'{"id"', b'[ {"role"')
    """
    match = _OPENING.match(text)
    return match.group() if match else b""


def opening_pattern(opening: bytes) -> bytes:
    """A pattern for items that begin so, whatever white space stands within.

    >>> bool(re.match(opening_pattern(b'[{"role"'), b'[ { "role": "user"}]'))
    True
    """
    brackets = re.match(rb"[\[{\s]*", opening)
    key = opening[brackets.end() if brackets else 0 :]
    parts = [re.escape(opening[at : at + 1]) for at in range(len(opening) - len(key)) if opening[at] in b"[{"]
    return rb"\s*".join([*parts, *([re.escape(key)] if key else [])])


def too_long(plan: ChunkPlan, offset: int, what: str) -> DataError:
    """The error of a line or record that is too long to be read, with the line on which it stands."""
    line = line_at(plan.path, offset) + 1
    return DataError(
        f"{plan.name or plan.path}:{line}  this {what} is longer than {LARGEST_RECORD_BYTES >> 20} MiB",
        hint="Take it out or split it; where the file has no line breaks, look for a bracket that is never closed.",
    )


def line_at(path: Path, offset: int) -> int:
    """The 0-based physical line on which an offset of a file lies, found without holding the file in memory."""
    lines = 0
    with path.open("rb") as source:
        while offset > 0 and (block := source.read(min(CHUNK_BYTES, offset))):
            lines += block.count(b"\n")
            offset -= len(block)
    return lines
