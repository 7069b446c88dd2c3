"""The delimiter and the header of CSV text."""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfwrap.data.readers.tables.table_header import HEAD_ROWS, column_names, find_header, is_known_header
from lfwrap.data.schema.columns import field_of
from lfwrap.errors import DataError, UsageError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_DASHES = re.compile(":?-+:?")
_SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[^\S\r\n]*(?:\r\n|\n|\r)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Header:
    """The row of a CSV file that names the columns.

    Attributes:
        names: the columns, each under a name of its own.
        delimiter: what separates cells.
        size_bytes: length of the header and what stands before it.
        lines: its physical lines and those before it.
        spelled: the cells of the header as they stand there.
        skips_space: whether a blank stands after every delimiter, also before quotes, and belongs to no cell.
        above: rows above it that are none of the table: a title, notes, ``sep=;``.
    """

    names: tuple[str, ...]
    delimiter: str
    size_bytes: int
    lines: int
    spelled: tuple[str, ...]
    skips_space: bool = False
    above: int = 0


def read_header(
    text: str,
    delimiter: str | None,
    name: str,
    mapping: Mapping[str, str] | None = None,
    *,
    default: str | None = None,
) -> Header:
    r"""The header of CSV text, which may stand below a title and a line ``sep=;``.

    Unless it is given, the delimiter is the one that yields the most known names, then the most rows of the header's
    width, then the most columns.

    Args:
        text: the beginning of the file.
        delimiter: what separates cells, or None.
        name: the file as the user named it.
        mapping: field → column, as the user named them.
        default: what separates cells where the user says nothing, nor does the file.

    Raises:
        DataError: there is no header, or a column that is trained is there twice.
        UsageError: the delimiter that the user gave isn't in it, while another one is.

    >>> header = read_header("问题;答案\n一;二\n", None, "a.csv")
    >>> header.names, header.delimiter, header.size_bytes, header.lines
    (('问题', '答案'), ';', 14, 1)
    """
    csv.field_size_limit(sys.maxsize)
    told = _SEPARATOR_LINE.match(text)
    start = told.end() if told else 0
    heads = [_Head(text, start, candidate, mapping or {}) for candidate in DELIMITERS]
    best = max(heads, key=_Head.likeness)
    delimiter = delimiter or (told.group(1) if told else None)
    if delimiter is not None:
        best = _as_given(_Head(text, start, delimiter, mapping or {}), best, name)
    elif default is not None and len((usual := _Head(text, start, default, mapping or {})).names) > 1:
        best = usual
    place = f"{name}:{best.line}"
    if best.is_markdown:
        raise DataError(f"{place}  this is a Markdown table", hint="Save it as CSV, without the line of dashes.")
    if not any(cell.strip() for cell in best.names):
        raise DataError(f"{place}  the first row names no columns", hint="Put the column names into the first row.")
    return best.header(place)


def _as_given(given: _Head, best: _Head, name: str) -> _Head:
    """The header with the delimiter that the user or the file gave. Raises UsageError when another one is meant."""
    if len(given.names) == 1 and best.known > 1:
        shown = DELIMITERS.get(given.delimiter, repr(given.delimiter))
        raise UsageError(
            f"{name}:{given.line}  --delimiter: there is no {shown} in the header {given.names[0]!r}",
            hint=f"It looks separated by {best.delimiter!r}: leave --delimiter out, or give that one.",
        )
    return given


class _Head:
    """The first rows of CSV text, read with one delimiter."""

    def __init__(self, text: str, start: int, delimiter: str, mapping: Mapping[str, str]) -> None:
        self.delimiter = delimiter
        self._mapping = mapping
        self._text = text
        lines = io.StringIO(text, newline="")
        lines.seek(start)
        self._lines_before = len(list(io.StringIO(text[:start], newline="")))
        self._skips_space = _has_space_after_delimiters(text[start:], delimiter)
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=self._skips_space)
        rows: list[list[str]] = []
        self._ends: list[tuple[int, int]] = []
        for row in reader:
            rows.append(row)
            self._ends.append((lines.tell(), reader.line_num))
            if len(rows) > HEAD_ROWS:
                break
        self._place = find_header(rows, mapping) or 0
        self.names: Sequence[str] = rows[self._place] if rows else []
        self.known = sum(field_of(name) is not None for name in self.names)
        self._alike = sum(len(row) == len(self.names) > 1 for row in rows[self._place + 1 :])
        following = rows[self._place + 1] if len(rows) > self._place + 1 else []
        dashes = [cell.strip() for cell in following if cell.strip()]
        self.is_markdown = (
            bool(dashes)
            and self._text[start:].lstrip().startswith("|")
            and delimiter == "|"
            and all(map(_DASHES.fullmatch, dashes))
        )
        self._above = sum(any(row) for row in rows[: self._place]) + bool(start)

    @property
    def line(self) -> int:
        """The 1-based line on which the header begins."""
        return self._lines_before + (self._ends[self._place - 1][1] if self._place else 0) + 1

    def likeness(self) -> tuple[bool, int, int, int]:
        """How much the text looks like a table with this delimiter; the larger, the more."""
        return is_known_header(self.names, self._mapping), self.known, self._alike, len(self.names)

    def header(self, place: str) -> Header:
        """The header. Raises DataError when a column is there twice."""
        end, lines = self._ends[self._place]
        names = column_names(self.names, self._mapping, place)
        size = len(self._text[:end].encode())
        return Header(
            names, self.delimiter, size, self._lines_before + lines, tuple(self.names), self._skips_space, self._above
        )


def _has_space_after_delimiters(text: str, delimiter: str) -> bool:
    """Whether a program wrote a blank after every delimiter: before some quote there is one, and no cell lacks it."""
    if f'{delimiter} "' not in text:
        return False
    rows = list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), HEAD_ROWS))
    skipped = itertools.islice(
        csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True), HEAD_ROWS
    )
    cells = [cell for row in rows for cell in row[1:]]
    width = max(map(len, skipped), default=0)
    return width > 1 and any(cell.startswith(' "') for cell in cells) and all(cell[:1] in ("", " ") for cell in cells)
