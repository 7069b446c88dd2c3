"""Tables: the delimiter and the header of CSV text, and the rows of XLSX and Parquet files."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.schema.columns import ALIASES, normalise_name
from lfwrap.errors import DataError, PreflightError, UsageError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_KNOWN_NAMES = {alias for aliases in ALIASES.values() for alias in aliases}


@dataclass(frozen=True, slots=True)
class Header:
    """The first row of a CSV file.

    Attributes:
        names: the column names.
        delimiter: what separates cells.
        size_bytes: length of the header and what stands before it.
        lines: its physical lines.
    """

    names: tuple[str, ...]
    delimiter: str
    size_bytes: int
    lines: int


def read_header(text: str, delimiter: str | None, name: str) -> Header:
    r"""The header of CSV text; its delimiter, unless given, is the one that yields the most known names, then columns.

    Raises:
        DataError: there is no header.
        UsageError: the delimiter that the user gave isn't in it, while another one is.

    >>> read_header("问题;答案\n一;二\n", None, "a.csv")
    Header(names=('问题', '答案'), delimiter=';', size_bytes=14, lines=1)
    """
    csv.field_size_limit(sys.maxsize)
    headers = [_header(text, candidate) for candidate in DELIMITERS]
    best = max(headers, key=lambda header: (_known(header.names), len(header.names)))
    if delimiter is not None:
        given = _header(text, delimiter)
        if len(given.names) == 1 and _known(best.names) > 1:
            shown = DELIMITERS.get(delimiter, repr(delimiter))
            raise UsageError(
                f"{name}:1  --delimiter: there is no {shown} in the header {given.names[0]!r}",
                hint=f"It looks separated by {best.delimiter!r}: leave --delimiter out, or give that one.",
            )
        best = given
    if not any(cell.strip() for cell in best.names):
        raise DataError(f"{name}:1  the first row names no columns", hint="Put the column names into the first row.")
    return best


def _header(text: str, delimiter: str) -> Header:
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    names = next((row for row in reader if row), [])
    size = len(text[: lines.tell()].encode())
    return Header(tuple(names), delimiter, size, reader.line_num)


def _known(names: Sequence[str]) -> int:
    return sum(normalise_name(name) in _KNOWN_NAMES for name in names)


def read_xlsx(path: Path, name: str) -> Iterator[SourceRecord]:
    """Rows of the first sheet, by the names in its first row; empty rows are left out.

    Raises:
        PreflightError: openpyxl is not installed.
        DataError: no workbook, or no header.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise PreflightError(f"{name}: reading .xlsx needs openpyxl", hint="pip install 'lfwrap[data]'") from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl lets zipfile's, XML's and its own errors through
        raise DataError(
            f"{name}: not a readable workbook: {error}", hint="Save it again, or export it as CSV."
        ) from error
    rows = enumerate(book.worksheets[0].iter_rows(values_only=True), 1)
    header = next((cells for _, cells in rows if any(cell is not None for cell in cells)), None)
    if header is None:
        raise DataError(f"{name}: the first sheet is empty", hint="Put the table on the first sheet.")
    names = ["" if cell is None else str(cell) for cell in header]
    number = 0
    for line, cells in rows:
        if any(cell is not None for cell in cells):
            number += 1
            yield SourceRecord(number, line, {key: _cell(cell) for key, cell in zip(names, cells, strict=False) if key})
    book.close()


def _cell(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a spreadsheet shows 3, stores 3.0
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
