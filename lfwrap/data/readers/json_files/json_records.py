"""Records of JSON files that are neither lines nor one plain list: read one by one, with no more in memory than one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.blocks import decode, parse_exactly
from lfwrap.data.readers.chunk_plan import CHUNK_BYTES, LARGEST_RECORD_BYTES, ChunkPlan, cut, line_at, too_long
from lfwrap.data.readers.json_files.array_block import ArrayBlock
from lfwrap.data.readers.json_files.outline import Entry, JsonBytes, MalformedError
from lfwrap.errors import DataError

_SHOWN_BYTES = 1 << 16
_BETWEEN = ",\x1e"  # commas, and the record separators of RFC 7464
# What a row of the Hugging Face data viewer's answers holds beside the row itself.
_VIEWER_KEYS = {"row_idx", "row", "truncated_cells"}


def exact_record(raw: bytes) -> Any:
    """A record as it stands, or the Reject that says why it can't be used.

    >>> exact_record(b'{"id": 1}'), str(exact_record(b'{"id": }'))
    ({'id': 1}, 'not valid JSON: Expecting value at column 8')
    """
    try:
        return parse_exactly(decode(raw))
    except Reject as reject:
        return reject


def records_in_sequence(plan: ChunkPlan) -> Iterator[SourceRecord]:
    """JSON values that stand one after the other, over several lines or on one, with or without commas between.

    Raises:
        DataError: the text between two values is no JSON, or a value is never closed; says on which line and column.
    """
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        offset, row, line, counted = plan.start, 0, plan.first_line, plan.start
        while True:
            offset = source.past_space(offset)
            while (character := source.character(offset)) and character in _BETWEEN:
                offset = source.past_space(offset + 1)
            if offset >= plan.size:
                return
            try:
                end = source.end_of_value(offset)
            except MalformedError as error:
                raise malformed(plan, error) from error
            if end - offset > LARGEST_RECORD_BYTES:
                raise too_long(plan, offset, "record")
            line += source.read(counted, offset).count(b"\n")
            raw = source.read(offset, end)
            row += 1
            yield SourceRecord(row, line + 1, exact_record(raw))
            line += raw.count(b"\n")
            offset = counted = end


def records_by_key(plan: ChunkPlan, entries: Sequence[Entry]) -> Iterator[SourceRecord]:
    """The values of an object whose keys number or name its rows."""
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        line, counted = plan.first_line, plan.start
        for row, entry in enumerate(entries, 1):
            if entry.end - entry.start > LARGEST_RECORD_BYTES:
                raise too_long(plan, entry.start, "record")
            line += source.read(counted, entry.start).count(b"\n")
            counted = entry.start
            yield SourceRecord(row, line + 1, exact_record(source.read(entry.start, entry.end)))


def records_of_columns(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The rows of an object of columns: lists, or objects by row as pandas writes them.

    Raises:
        DataError: the columns differ in length.

    >>> records_of_columns({"q": ["a", "b"], "r": {"0": 1, "1": 2}}, "a.json")
    [{'q': 'a', 'r': 1}, {'q': 'b', 'r': 2}]
    """
    columns = {
        key: list(value.values() if isinstance(value, dict) else value)
        for key, value in document.items()
        if isinstance(value, dict | list)
    }
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key}: {length:,}" for key, length in lengths.items())
        raise DataError(f"{name}: its columns differ in length ({shown})", hint="Write one record a line (JSONL).")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def unwrapped_rows(plans: Sequence[ChunkPlan]) -> Iterator[SourceRecord]:
    """The rows that the items of lists hold under ``row``."""
    row = 0
    for plan in plans:
        for record in _records_of_list(plan):
            row += 1
            yield SourceRecord(row, record.line, unwrapped(record.value))


def is_wrapped(sample: Sequence[Any]) -> bool:
    """Whether the items of a list hold their rows under ``row``, as the Hugging Face data viewer's answers do.

    >>> is_wrapped([{"row_idx": 0, "row": {"question": "…"}, "truncated_cells": []}]), is_wrapped([{"row": 1}])
    (True, False)
    """
    return bool(sample) and all(
        isinstance(item, dict) and isinstance(item.get("row"), dict) and item.keys() <= _VIEWER_KEYS for item in sample
    )


def unwrapped(item: Any) -> Any:
    """The row that an item holds; a Reject where the viewer cut its text."""
    if not isinstance(item, dict) or not is_wrapped([item]):
        return item if isinstance(item, Reject) else Reject("structure", "an item without the row that others hold")
    if item.get("truncated_cells"):
        return Reject(
            "truncated-cells", f"the data viewer cut these cells: {', '.join(map(str, item['truncated_cells']))}"
        )
    return item["row"]


def _records_of_list(plan: ChunkPlan) -> Iterator[SourceRecord]:
    start, row, line, size = plan.start, 0, plan.first_line, CHUNK_BYTES
    while start < plan.size:
        chunk = next(cut(plan, start, size))
        block = ArrayBlock(chunk.read(), chunk)
        lines = block.lines_of(range(block.size))
        for position in range(block.size):
            row += 1
            try:
                value = block.record(position)
            except Reject as reject:
                value = reject
            yield SourceRecord(row, line + (lines[position] or 0) + 1, value)
        line += block.line_count
        start += block.consumed_bytes
        size = CHUNK_BYTES if block.consumed_bytes else 2 * size
        if size > 2 * LARGEST_RECORD_BYTES:
            raise too_long(plan, start, "record")


def malformed(plan: ChunkPlan, error: MalformedError) -> DataError:
    """The error of text that is no JSON, with the line and column where it breaks."""
    line = line_at(plan.path, error.offset)
    with plan.path.open("rb") as source:
        source.seek(max(0, error.offset - _SHOWN_BYTES))
        before = source.read(min(error.offset, _SHOWN_BYTES))
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    return DataError(
        f"{plan.name or plan.path}:{line + 1}:{column}  not valid JSON: {error.reason}",
        hint="Correct it there; a list of records, or one record a line, is also read past broken rows.",
    )
