"""The delimiter and the header of CSV text."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from lfwrap.data.schema.columns import ALIASES, normalise_name
from lfwrap.errors import DataError, UsageError

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
