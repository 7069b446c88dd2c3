"""What a worker process does with one chunk: read, convert, check, and hand back lines, keys and counts."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.convert.converted_rows import ConvertedRows, Unused
from lfwrap.data.convert.fast_path import convert_block
from lfwrap.data.convert.record_path import Conversion
from lfwrap.data.formats.base import Reject
from lfwrap.data.readers.blocks import Block, CsvBlock, LineBlock, RecordBlock
from lfwrap.data.readers.chunk_plan import Chunk, Layout
from lfwrap.data.readers.json_files.array_block import ArrayBlock
from lfwrap.data.schema.fields import UnusedField
from lfwrap.data.schema.plain_rows import PlainColumns
from lfwrap.data.schema.redaction import redact

EXAMPLES_PER_RULE = 5
_SHOWN_CHARACTERS = 120
_SHOWN_FIELDS = 12


@dataclass(frozen=True, slots=True)
class Task:
    """One chunk and what to do with it.

    Attributes:
        chunk: what to read.
        conversion: how to convert it.
        plain_columns: the columns of a plain table, for the fast path.
    """

    chunk: Chunk
    conversion: Conversion
    plain_columns: PlainColumns | None


@dataclass(frozen=True, slots=True)
class Place:
    """A place within a chunk: the row counted from 1, the line from 0, or None where the file has no lines."""

    row: int
    line: int | None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that can't be used, with its fields shortened and without secrets."""

    place: Place
    rule: str
    reason: str
    excerpt: Mapping[str, str]


@dataclass(slots=True)
class Warned:
    """How often a rule warned, and the first few times."""

    count: int = 0
    examples: list[tuple[Place, str]] = field(default_factory=list)


@dataclass(slots=True)
class ChunkResult:
    """The result of one chunk.

    Attributes:
        consumed_bytes: how much of the chunk was whole records; the rest is to be read again.
        line_count: physical lines in it.
        rows: records in it, rejected ones included.
        lines: output lines joined, each with its line break; they may be gone once the next result is asked for.
        keys: one for each line.
        rejects: rows that can't be used.
        repairs: repairs by kind.
        warnings: warnings by rule.
        unused: path → a field that rows have and that was not converted; its row is counted within the chunk.
        rows_before: records of the file before the chunk; known once results are in order.
        lines_before: 0-based physical line on which the chunk starts; likewise.
        more_follows: a list ends at ``consumed_bytes``, but something that belongs to no list follows it.
        key: the list that the chunk is a part of, where it has a name.
    """

    consumed_bytes: int
    line_count: int
    rows: int
    lines: bytearray | memoryview | bytes
    keys: list[int]
    rejects: list[RejectedRow]
    repairs: Counter[str]
    warnings: dict[str, Warned]
    unused: dict[str, UnusedField] = field(default_factory=dict)
    rows_before: int = 0
    lines_before: int = 0
    more_follows: bool = False
    key: str = ""


def run_task(task: Task) -> ChunkResult:
    """Read and convert one chunk.

    Raises:
        NotUtf8Error: the chunk holds bytes that are not UTF-8.
    """
    block = _load(task.chunk)
    rows = convert_block(block, task.conversion, task.plain_columns)
    blanks = set(block.blanks)
    repairs: Counter[str] = Counter()
    for notes in rows.notes.values():
        repairs.update(notes.repairs)
    if isinstance(block, ArrayBlock) and block.trailing_comma:
        repairs["trailing-comma"] += 1
    if isinstance(block, RecordBlock | CsvBlock):
        for position, kinds in block.repairs.items():
            repairs.update(() if position in rows.rejects else kinds)
    places = _places(block, rows, blanks)
    return ChunkResult(
        block.consumed_bytes,
        block.line_count,
        block.size - len(blanks),
        rows.output,
        rows.keys,
        [_rejected(block, position, places[position], reject) for position, reject in sorted(rows.rejects.items())],
        repairs,
        _warnings(rows, places),
        {path: _unused(unused, places) for path, unused in rows.unused.items()},
        more_follows=isinstance(block, ArrayBlock) and block.more_follows,
        key=task.chunk.plan.key,
    )


def _load(chunk: Chunk) -> Block:
    if chunk.plan.layout is Layout.RECORDS:
        return RecordBlock(chunk.records)
    content = chunk.read()
    if chunk.plan.layout is Layout.LINES:
        return LineBlock(content)
    if chunk.plan.layout is Layout.CSV:
        return CsvBlock(content, chunk)
    return ArrayBlock(content, chunk)


def _places(block: Block, rows: ConvertedRows, blanks: set[int]) -> dict[int, Place]:
    warned = (position for position, notes in rows.notes.items() if notes.warnings)
    unused = (entry.position for entry in rows.unused.values() if entry.value is not None)
    wanted = sorted({*rows.rejects, *warned, *unused})
    lines = block.lines_of(wanted)
    before = sorted(blanks)
    places, passed = {}, 0
    for position in wanted:
        while passed < len(before) and before[passed] < position:
            passed += 1
        places[position] = Place(position - passed + 1, lines[position])
    return places


def _warnings(rows: ConvertedRows, places: Mapping[int, Place]) -> dict[str, Warned]:
    warned: dict[str, Warned] = {}
    for position in sorted(rows.notes):
        for rule, message in rows.notes[position].warnings:
            entry = warned.setdefault(rule, Warned())
            entry.count += 1
            if len(entry.examples) < EXAMPLES_PER_RULE:
                entry.examples.append((places[position], _printable(message)))
    return warned


def _unused(unused: Unused, places: Mapping[int, Place]) -> UnusedField:
    if unused.value is None:
        return UnusedField(unused.count)
    example = unused.value if isinstance(unused.value, str) else _as_json(unused.value)
    return UnusedField(unused.count, shorten(example), places[unused.position].row)


def _rejected(block: Block, position: int, place: Place, reject: Reject) -> RejectedRow:
    return RejectedRow(place, reject.rule, _printable(reject.reason), _excerpt(block, position))


def _excerpt(block: Block, position: int) -> dict[str, str]:
    """The fields of a row, shortened; of one that does not parse, its beginning."""
    try:
        record = block.record(position)
    except Exception:  # noqa: BLE001 - why the row is rejected is known already
        return {"text": shorten(_raw(block, position))}
    if not isinstance(record, dict):
        return {"value": shorten(str(record))}
    fields = itertools.islice(record.items(), _SHOWN_FIELDS)
    return {shorten(key): shorten(value if isinstance(value, str) else _as_json(value)) for key, value in fields}


def _raw(block: Block, position: int) -> str:
    if isinstance(block, LineBlock):
        return block.lines[position].decode(errors="replace")
    if isinstance(block, CsvBlock):
        return block.delimiter.join(block.rows[position])
    return block.text_at(position) if isinstance(block, ArrayBlock) else ""


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are no text, values within themselves or very deep
        return f"({type(value).__name__})"


def _printable(text: str) -> str:
    """A text without secrets that can be written as UTF-8."""
    return redact(text).encode(errors="backslashreplace").decode()


def shorten(text: str) -> str:
    """The first 120 characters of a text, with an ellipsis where more was cut, without secrets, writable as UTF-8.

    >>> len(shorten("x" * 500))
    121
    """
    text = _printable(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
