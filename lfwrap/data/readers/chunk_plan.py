"""Where to cut a file: spans of about a MiB that most probably end with a record; their readers make sure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from lfwrap.data.readers.blocks import Layout, Span

SPAN_BYTES = 1 << 20
LARGEST_SPAN_BYTES = 256 << 20
_LOOK_BYTES = 1 << 16
_SEARCH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is read.

    Attributes:
        layout: how records stand in it.
        path: the file (UTF-8).
        start: offset of the first record.
        size: length of the file in bytes.
        first_line: 0-based physical line of the first record.
        header: CSV: the column names.
        delimiter: CSV: what separates cells.
        key: ARRAY in a wrapper: its key.
        first_key: ARRAY: the raw first key of the first item, by which items are told from what they hold.
    """

    layout: Layout
    path: Path
    start: int
    size: int
    first_line: int = 0
    header: tuple[str, ...] = ()
    delimiter: str = ","
    key: str = ""
    first_key: bytes = b""


def cut(plan: Plan, start: int, span_bytes: int) -> Iterator[Span]:
    """Spans of about ``span_bytes`` from ``start`` to the end of the file, without gaps."""
    find_end = {Layout.LINES: _end_of_line, Layout.CSV: _end_of_row, Layout.ARRAY: _end_of_item}[plan.layout]
    whole = Span(
        plan.layout, plan.path, start, plan.size, final=True, header=plan.header, delimiter=plan.delimiter, key=plan.key
    )
    with plan.path.open("rb") as source:
        while start < plan.size:
            end = plan.size if start + span_bytes >= plan.size else find_end(source, plan, start, start + span_bytes)
            yield replace(whole, start=start, end=end, final=end >= plan.size)
            start = end


def _end_of_line(source: IO[bytes], plan: Plan, start: int, end: int) -> int:  # noqa: ARG001 - one signature for three
    source.seek(end)
    source.readline()
    return min(source.tell(), plan.size)


def _end_of_row(source: IO[bytes], plan: Plan, start: int, end: int) -> int:
    """The end of the first line after ``end`` with an even number of quotes before it: no cell is open there."""
    source.seek(start)
    quotes = source.read(end - start).count(b'"')
    first = 0
    while line := source.readline():
        first = first or source.tell()
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            return source.tell()
        if source.tell() - end > _LOOK_BYTES:
            return first  # a lone quote inside a cell upsets the count: let the reader of the span find out
    return plan.size


def _end_of_item(source: IO[bytes], plan: Plan, start: int, end: int) -> int:  # noqa: ARG001
    """After the comma between two objects of which the second begins like all of them."""
    separator = re.compile(rb"\}\s*,(?=\s*\{\s*" + re.escape(plan.first_key) + rb")")
    window = b""
    source.seek(end)
    while more := source.read(_LOOK_BYTES):
        window += more
        if match := separator.search(window):
            return end + match.end()
        if len(window) > _SEARCH_BYTES:
            separator = re.compile(rb"\}\s*,(?=\s*\{)")
    return plan.size
