"""Pieces of a file that processes work on side by side, and the records in them, each with its place.

A block ends where the text seems to end a record; whoever reads it finds out whether it does and says how much of it
holds whole records (`Block.consumed_bytes`), and the rest is read again with what follows. A record that starts where
the last one ended is a record, so by induction all cuts are right, whatever the text holds.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from lfwrap.data.formats.base import Reject, SourceRecord


class Layout(StrEnum):
    """How records stand in a file."""

    LINES = "lines"
    ARRAY = "array"
    CSV = "csv"
    RECORDS = "records"


@dataclass(frozen=True, slots=True)
class Span:
    """What one process is to read: bytes of a file, or records that were read already.

    Attributes:
        layout: how records stand in it.
        path: the file (UTF-8).
        start: offset of the first byte.
        end: offset after the last byte.
        final: whether nothing follows.
        header: CSV: the column names.
        delimiter: CSV: what separates cells.
        key: ARRAY in a wrapper: the wrapper's key, else empty.
        records: RECORDS: the records themselves.
    """

    layout: Layout
    path: Path
    start: int
    end: int
    final: bool
    header: tuple[str, ...] = ()
    delimiter: str = ","
    key: str = ""
    records: tuple[SourceRecord, ...] = ()

    def read(self) -> bytes:
        """The bytes of the span."""
        with self.path.open("rb") as source:
            source.seek(self.start)
            return source.read(self.end - self.start)


class NotUtf8Error(Exception):
    """A block of a file taken for UTF-8 holds other bytes: the whole file has to be looked at again."""


class Block(Protocol):
    """The records of a span.

    Positions count everything that could be a record, blank lines included; rows count records only.
    """

    @property
    def consumed_bytes(self) -> int:
        """How many bytes of the span hold whole records; less than all of it when the cut was wrong."""

    @property
    def line_count(self) -> int:
        """Physical lines in the consumed bytes."""

    @property
    def size(self) -> int:
        """Number of positions."""

    @property
    def blanks(self) -> Sequence[int]:
        """Positions that hold nothing, in order."""

    def record(self, position: int) -> Any:
        """The record at a position, read exactly: duplicate keys found, large integers kept. Raises Reject."""

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Position → 0-based physical line, relative to the span."""


def parse_exactly(text: str) -> Any:
    """JSON with integers of any size, NaN as NaN, and duplicate keys refused.

    Raises:
        Reject: no JSON, or an object with a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=unique_object)
    except json.JSONDecodeError as error:
        raise Reject("not-json", f"no valid JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise Reject("not-json", "no usable JSON: nested too deeply") from error


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of key-value pairs; raises Reject when a key comes twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Reject("duplicate-key", f"the key {twice!r} stands twice in one object")
    return built


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8Error from error


class LineBlock:
    """One JSON value a line. Its size and blank lines are known once `each` or `scan` went over it."""

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

    def each(self) -> Iterator[tuple[int, bytes]]:
        """Positions and lines, one at a time: a line that is let go before the next one stays in the CPU's cache."""
        position = -1
        for position, raw in enumerate(io.BytesIO(self.content)):
            yield position, raw
        self.size = position + 1

    def scan(self) -> None:
        """Count the lines and find the blank ones."""
        self.size = len(self.lines)
        self.blanks = [position for position, line in enumerate(self.lines) if not line.strip()]

    def record(self, position: int) -> Any:
        """The value on a line. Raises Reject when it is no JSON."""
        return parse_exactly(_decode(self.lines[position]))

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Every position is its own line."""
        return {position: position for position in positions}


_SENTINEL = "\x00end of block\x00"


class CsvBlock:
    """Rows of a CSV file, with Python's `csv` rules: quoted cells may hold delimiters and line breaks.

    Its rows, blank ones and end are known once `scan` has read it. A sentinel line after the block shows whether the
    last row was still open there.
    """

    def __init__(self, content: bytes, span: Span) -> None:
        csv.field_size_limit(sys.maxsize)
        self.content = content
        self.header = span.header
        self.delimiter = span.delimiter
        self.final = span.final
        self.line_count = 0
        self.consumed_bytes = len(content)
        self.unclosed: int | None = None
        self.rows: list[list[str]] = []
        self.size = 0
        self.blanks: list[int] = []

    def reader(self) -> Any:
        """A `csv.reader` over the block and the sentinel."""
        lines = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", newline="")
        return csv.reader(itertools.chain(lines, [_SENTINEL]), delimiter=self.delimiter)

    @staticmethod
    def is_end(row: list[str]) -> bool:
        """Whether a row is the sentinel: all rows before it were whole."""
        return row == [_SENTINEL]

    def scan(self) -> None:
        """Count the rows and find the blank ones; a row that is open at the end is left to the next block."""
        try:
            reader = self.reader()
            self.rows = list(reader)
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error
        self.line_count = reader.line_num - 1
        if self.is_end(self.rows[-1]):
            self.rows.pop()
        elif self.final:
            self.unclosed = len(self.rows) - 1
        else:
            self._give_back_last()
        self.size = len(self.rows)
        self.blanks = [position for position, row in enumerate(self.rows) if not row]

    def _give_back_last(self) -> None:
        last = len(self.rows) - 1
        self.rows.pop()
        self.line_count = self.lines_of([last])[last] or 0
        lines = io.TextIOWrapper(io.BytesIO(self.content), encoding="utf-8", newline="")
        self.consumed_bytes = sum(len(line.encode()) for line in itertools.islice(lines, self.line_count))

    def record(self, position: int) -> dict[str, str]:
        """A row by its column names. Raises Reject when it has another number of cells."""
        if position == self.unclosed:
            raise Reject("unclosed-quote", "a quote opened in this row is never closed")
        row = self.rows[position]
        if len(row) != len(self.header):
            raise Reject("field-count", f"{len(row)} cells, but the header names {len(self.header)} columns")
        return dict(zip(self.header, row, strict=True))

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


@dataclass(slots=True)
class _Item:
    offset: int
    value: Any = None
    reject: Reject | None = None


_SEPARATOR = re.compile(r"\s*,\s*")
_SPACE = re.compile(r"\s*")
_FIRST_KEY = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"')
_NEAR_THE_END = 16


class ArrayBlock:
    """Items of a JSON array; ``items`` holds them as a quick parser gave them, or is empty when it could not."""

    def __init__(self, content: bytes, span: Span, items: list[Any]) -> None:
        self.content = content
        self.items = items
        self.blanks: list[int] = []
        self.trailing_comma = False
        self._final = span.final
        self._exact: list[_Item] | None = None
        self.consumed_bytes = len(content)
        if not items:
            self._read_exactly()
        self.size = len(items) or len(self._exact or ())
        self.line_count = content.count(b"\n", 0, self.consumed_bytes)

    def record(self, position: int) -> Any:
        """The item, read exactly. Raises Reject."""
        item = self._read_exactly()[position]
        if item.reject is not None:
            raise item.reject
        return item.value

    def text_at(self, position: int) -> str:
        """The text from an item on."""
        items = self._read_exactly()
        following = items[position + 1].offset if position + 1 < len(items) else len(self._text)
        return self._text[items[position].offset : following]

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Counts line breaks before each item."""
        wanted = list(positions)
        if not wanted:
            return {}
        items, text = self._read_exactly(), self._text
        return {position: text.count("\n", 0, items[position].offset) for position in wanted}

    def _read_exactly(self) -> list[_Item]:
        if self._exact is None:
            self._text = _decode(self.content)
            walk = _ArrayWalk(self._text, final=self._final)
            self._exact = walk.items
            self.trailing_comma = walk.trailing_comma
            if not self.items:
                self.consumed_bytes = len(self._text[: walk.consumed].encode())
        return self._exact


@dataclass(slots=True)
class _ArrayWalk:
    """Reads array items one by one, past broken ones, and stops before one that is cut off."""

    text: str
    final: bool
    limit: int = sys.maxsize
    items: list[_Item] = field(default_factory=list)
    consumed: int = 0
    trailing_comma: bool = False

    def __post_init__(self) -> None:
        decoder = json.JSONDecoder(object_pairs_hook=_marked_object)
        offset = self._skip(0)
        while offset < len(self.text) and len(self.items) < self.limit:
            if self.final and self.text[offset] in "]}":
                break
            try:
                value, end = decoder.raw_decode(self.text, offset)
            except json.JSONDecodeError as error:
                if not self.final and self._cut_off(error):
                    self.consumed = offset
                    return
                end = self._next_item(offset)
                line = self.text.count("\n", offset, error.pos)
                reason = f"no valid JSON: {error.msg} ({line} lines on, column {error.colno})"
                self.items.append(_Item(offset, reject=Reject("not-json", reason)))
            else:
                twice = _Twice.within(value)
                reject = Reject("duplicate-key", f"the key {twice.key!r} stands twice in one object") if twice else None
                self.items.append(_Item(offset, value, reject))
            offset = self._skip(end)
        self.consumed = len(self.text)

    def _skip(self, offset: int) -> int:
        """Past white space and the comma between items."""
        match = _SEPARATOR.match(self.text, offset)
        if match is None:
            space = _SPACE.match(self.text, offset)
            return space.end() if space else offset
        self.trailing_comma = self.final and self.text[match.end() : match.end() + 1] == "]"
        return match.end()

    def _cut_off(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self.text.rstrip()) - _NEAR_THE_END or error.msg.startswith("Unterminated string")

    def _next_item(self, offset: int) -> int:
        """Where a broken item ends, as far as can be told: before the next object that begins like it."""
        own = _FIRST_KEY.match(self.text, offset)
        following = rf"\{{\s*{re.escape(own.group()[1:].lstrip())}" if own else r"\{"
        match = re.compile(rf"\s*,\s*{following}").search(self.text, offset + 1)
        return match.start() if match else len(self.text)


def array_items(text: str, limit: int) -> list[Any]:
    """The first whole items of the text of a JSON array, after its bracket; broken ones are left out."""
    walk = _ArrayWalk(text, final="]" in text[-8:], limit=limit)
    return [item.value for item in walk.items if item.reject is None]


@dataclass(slots=True)
class _Twice:
    """Stands in for an object that has a key twice."""

    key: str

    @classmethod
    def within(cls, value: Any) -> _Twice | None:
        """The first such object inside a value."""
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, list):
            return None
        return next((found for part in value if (found := cls.within(part))), None)


def _marked_object(pairs: list[tuple[str, Any]]) -> Any:
    try:
        return unique_object(pairs)
    except Reject:
        keys = [key for key, _ in pairs]
        return _Twice(next(key for key in keys if keys.count(key) > 1))


class RecordBlock:
    """Records that a reader of its own produced."""

    def __init__(self, records: Sequence[SourceRecord]) -> None:
        self._records = records
        self.consumed_bytes = 0
        self.line_count = 0
        self.size = len(records)
        self.blanks: list[int] = []

    def record(self, position: int) -> Any:
        """The record. Raises Reject when its reader said so."""
        value = self._records[position].value
        if isinstance(value, Reject):
            raise value
        return value

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """The lines that the reader gave; these are not relative to a span."""
        return {position: line - 1 if (line := self._records[position].line) else None for position in positions}
