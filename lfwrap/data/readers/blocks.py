"""Blocks: the records of a chunk, each with its place.

A chunk ends where the text seems to end a record; its block finds out whether it does and says how many of its bytes
hold whole records (`Block.consumed_bytes`), and the rest is read again with what follows. A record that starts where
the last one ended is a record, so by induction all cuts are right, whatever the text holds.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.formats.parts.arguments import TOO_LONG_A_NUMBER, spelled_float, unique_object
from lfwrap.data.readers.chunk_plan import Chunk

_BOM = "\ufeff"


class NotUtf8Error(Exception):
    """A chunk of a file that was taken for UTF-8 holds other bytes: its encoding has to be decided anew."""


class Block(Protocol):
    """The records of a chunk.

    Positions count everything that could be a record, blank lines included; rows count records only.
    """

    @property
    def consumed_bytes(self) -> int:
        """How many bytes of the chunk hold whole records; less than all of it when the cut was wrong."""

    @property
    def line_count(self) -> int:
        """Physical lines in the consumed bytes."""

    @property
    def size(self) -> int:
        """Number of positions: records and blank lines."""

    @property
    def blanks(self) -> Sequence[int]:
        """Positions that hold nothing, in order."""

    def record(self, position: int) -> Any:
        """The record at a position, read exactly: duplicate keys found, large integers kept. Raises Reject."""

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Position → 0-based physical line, relative to the chunk."""


def parse_exactly(text: str) -> Any:
    """JSON with integers of any size, NaN as NaN, and duplicate keys refused.

    Raises:
        Reject: no JSON, or an object with a key twice.

    >>> parse_exactly('{"id": 12345678901234567890}')
    {'id': 12345678901234567890}
    """
    try:
        return _decoder().decode(text) if text[:1] != _BOM else json.loads(text)  # which says what is wrong
    except json.JSONDecodeError as error:
        if text[error.pos : error.pos + 1] == "\0":
            raise Reject("zero-byte", f"a zero byte (NUL) at column {error.colno}") from error
        raise Reject("not-json", f"not valid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise Reject("not-json", "not usable JSON: nested too deeply") from error
    except ValueError as error:
        raise Reject("not-json", f"not usable JSON: {TOO_LONG_A_NUMBER}") from error


@functools.cache
def _decoder() -> json.JSONDecoder:
    """One for all records: to make it takes a good part of the time that a short one takes."""
    return json.JSONDecoder(object_pairs_hook=unique_object, parse_float=spelled_float)


def decode(content: bytes) -> str:
    """The text of a block. Raises NotUtf8Error.

    >>> decode("猫".encode())
    '猫'
    """
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8Error from error


class LineBlock:
    """One JSON value a line. Its size and blank lines are known once `scan`, or the fast path, went over it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.consumed_bytes = len(content)
        self.size = 0
        self.blanks: list[int] = []

    @property
    def line_count(self) -> int:
        """Line breaks in the block."""
        return self.size if self.content.endswith(b"\n") else self.size - 1

    @functools.cached_property
    def lines(self) -> list[bytes]:
        """The lines, without their line breaks."""
        lines = self.content.split(b"\n")
        return lines if lines[-1] else lines[:-1]

    def scan(self) -> None:
        """Count the lines and find the blank ones."""
        self.size = len(self.lines)
        self.blanks = [position for position, line in enumerate(self.lines) if not line.strip()]

    def record(self, position: int) -> Any:
        """The value on a line. Raises Reject when it is not JSON."""
        return parse_exactly(decode(self.lines[position]))

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Every position is its own line."""
        return {position: position for position in positions}


_BLANKS_AROUND = 4  # a byte order mark and a few blanks around a name
_SENTINEL = "\x00end of block\x00"


class CsvBlock:
    """Rows of a CSV file, with Python's `csv` rules: quoted cells may hold delimiters and line breaks.

    Its rows, blank ones and end are known once `scan` has read it. A sentinel line after the block shows whether the
    last row was still open there.

    Attributes:
        rows: the cells of each row.
        unclosed: the row in which a quote is never closed, or None.
        repairs: position → what was done to the row.
        trained: places of the columns that are trained, where that is known; in others a quote may stand anyhow.
    """

    def __init__(self, content: bytes, chunk: Chunk) -> None:
        import csv

        csv.field_size_limit(sys.maxsize)
        self.content = content
        self.header = chunk.plan.header
        self.delimiter = chunk.plan.delimiter
        self.final = chunk.final
        self.line_count = 0
        self.consumed_bytes = len(content)
        self.unclosed: int | None = None
        self.rows: list[list[str]] = []
        self.size = 0
        self.blanks: list[int] = []
        self.repairs: dict[int, tuple[str, ...]] = {}
        self.trained: frozenset[int] | None = None
        self._skips_space = chunk.plan.skips_space
        self._spelled = chunk.plan.spelled or chunk.plan.header
        self._sentinel = f"{_SENTINEL}{self.delimiter}{_SENTINEL}"  # two cells: within an open quote it would be one
        self._broken: dict[int, Reject] = {}

    @functools.cached_property
    def has_escapes(self) -> bool:
        """Whether a quote has a backslash before it, which may have been meant to escape it."""
        return b"\\" in self.content and b'\\"' in self.content

    @functools.cached_property
    def _has_doubtful_quotes(self) -> bool:
        """Whether rows have to be looked at one by one: a quote stands where it may not mean what was meant."""
        if self.has_escapes:
            return True
        before = b"(?:^|[\r\n]|" + re.escape(self.delimiter.encode()) + b")"
        return not self._skips_space and b' "' in self.content and bool(re.search(before + b' +"', self.content))

    @property
    def unnamed(self) -> list[str]:
        """The names that stand for columns without one."""
        return [key for key, name in zip(self.header, self._spelled, strict=True) if not name.strip()]

    def reader(self, *, strict: bool = False) -> Any:
        """A `csv.reader` over the block and the sentinel; a strict one raises csv.Error where a quote is wrong."""
        import csv

        lines = itertools.chain(self._lines(), [self._sentinel])
        return csv.reader(lines, delimiter=self.delimiter, strict=strict, skipinitialspace=self._skips_space)

    def _lines(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", newline="")

    @staticmethod
    def is_end(row: list[str]) -> bool:
        """Whether a row is the sentinel: all rows before it were whole."""
        return row == [_SENTINEL, _SENTINEL]

    def may_be_header(self, column: str) -> frozenset[int]:
        """How long a cell of a column is where the row may be the header once more."""
        size = len(self._spelled[self.header.index(column)].strip())
        return frozenset(range(size, size + _BLANKS_AROUND + 1))

    def is_header(self, row: list[str]) -> bool:
        """Whether a row is the header once more."""
        from lfwrap.data.readers.tables.table_header import is_repeated_header

        return is_repeated_header(row, self._spelled)

    def is_whole(self, position: int) -> bool:
        """Whether a row has the header's cells, in quotes that are right."""
        fits = len(self.rows[position]) == len(self.header)
        return fits and position != self.unclosed and position not in self._broken

    def scan(self) -> None:
        """Count the rows and find the blank ones; a row that is open at the end is left to the next block."""
        import csv

        reader = self.reader(strict=not self._has_doubtful_quotes)
        try:
            if self._has_doubtful_quotes:
                self._find_broken(reader)
            else:
                self.rows = list(reader)
        except csv.Error:
            reader = self.reader()
            self._find_broken(reader)
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error
        self.line_count = reader.line_num - 1
        if self.is_end(self.rows[-1]):
            self.rows.pop()
        elif self.final:
            self.unclosed = len(self.rows) - 1
            self.rows[-1][-1] = self.rows[-1][-1].removesuffix(self._sentinel)
        else:
            self._give_back_last()
        self.size = len(self.rows)
        self.blanks = [position for position, row in enumerate(self.rows) if not row]
        for position, row in enumerate(self.rows):
            if len(row) > len(self.header) and not any(row[len(self.header) :]):
                self.repairs[position] = ("empty-cells",)

    def _find_broken(self, reader: Any) -> None:
        """Read all rows, whatever their quotes, and find those whose quotes are wrong."""
        from lfwrap.data.readers.tables.csv_faults import Dialect, broken_rows

        self.rows, ends = [], []
        for row in reader:
            self.rows.append(row)
            ends.append(reader.line_num)
        dialect = Dialect(self.delimiter, self._skips_space, self.trained)
        self._broken = broken_rows(list(self._lines()), ends[:-1], dialect)

    def _give_back_last(self) -> None:
        last = len(self.rows) - 1
        self.rows.pop()
        self.line_count = self.lines_of([last])[last] or 0
        self.consumed_bytes = sum(len(line.encode()) for line in itertools.islice(self._lines(), self.line_count))

    def record(self, position: int) -> dict[str, str]:
        """A row by its column names. Raises Reject when its quotes are wrong or it has another number of cells."""
        if position == self.unclosed:
            lines = self.line_count - (self.lines_of([position])[position] or 0)
            swallowed = f": the {lines} lines from here to the end are one cell" if lines > 1 else ""
            raise Reject("unclosed-quote", f"a quote opened in this row is never closed{swallowed}")
        if position in self._broken:
            raise self._broken[position]
        row = self.rows[position]
        if len(row) != len(self.header):
            row = self._fitted(row, position)
        if self.is_header(row):
            raise Reject("repeated-header", "the row says again what the header says")
        record = dict(zip(self.header, row, strict=True))
        for name in self.unnamed:
            if not record[name]:
                del record[name]
        return record

    def _fitted(self, row: list[str], position: int) -> list[str]:
        """A row whose cells differ in number from the header's, but by nothing that says anything. Raises Reject."""
        count = len(self.header)
        if position in self.repairs:
            return row[:count]
        if len(row) < count and not any(name.strip() for name in self._spelled[len(row) :]):
            return row + [""] * (count - len(row))
        raise Reject("field-count", f"{len(row)} cells, but the header names {count} columns")

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Reads the block again, this time counting lines."""
        wanted = set(positions)
        found: dict[int, int | None] = {}
        if wanted:
            reader, before = self.reader(), 0
            for position, _ in enumerate(reader):
                if position in wanted:
                    found[position] = before
                before = reader.line_num
        return found


class RecordBlock:
    """Records that a reader of its own produced."""

    def __init__(self, records: Sequence[SourceRecord]) -> None:
        self._records = records
        self.consumed_bytes = 0
        self.line_count = 0
        self.size = len(records)
        self.blanks: list[int] = []
        self.repairs = {position: record.repairs for position, record in enumerate(records) if record.repairs}

    def record(self, position: int) -> Any:
        """The record. Raises Reject when its reader said so."""
        value = self._records[position].value
        if isinstance(value, Reject):
            raise value
        return value

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """The lines that the reader gave; these are not relative to a chunk."""
        return {position: line - 1 if (line := self._records[position].line) else None for position in positions}
