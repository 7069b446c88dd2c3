"""Rows of CSV text whose quotes are wrong: which they are, and where in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from lfwrap.data.formats.base import Reject

_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_SHOWN_CHARACTERS = 20


def broken_rows(lines: Sequence[str], ends: Sequence[int], delimiter: str) -> dict[int, Reject]:
    r"""Which rows hold text after a closing quote, or an escaped one: what they say depends on who reads them.

    Args:
        lines: the physical lines, with their line breaks.
        ends: for each row, how many lines end with it.
        delimiter: what separates cells.

    >>> list(broken_rows(['"a "b" c",d\n', 'e,"f"\n'], [1, 2], ","))
    [0]
    """
    found: dict[int, Reject] = {}
    start = 0
    for position, end in enumerate(ends):
        own, start = lines[start:end], end
        if not any('"' in line for line in own):
            continue
        try:
            cells = next(csv.reader(own, delimiter=delimiter, strict=True), [])
        except csv.Error:
            found[position] = _text_after_quote("".join(own), delimiter, len(own))
        else:
            if any('\\"' in cell for cell in cells) and (column := _escaped_quote("".join(own), delimiter)):
                reason = f"a quote with a backslash before it stands at column {column}, in a cell without quotes"
                found[position] = Reject("escaped-quote", reason)
    return found


def _escaped_quote(row: str, delimiter: str) -> int:
    """The 1-based column, in the row's last line, of an escaped quote in an unquoted cell; 0 without one."""
    at = 0
    while at < len(row):
        quoted = _QUOTED.match(row, at)
        end = row.find(delimiter, quoted.end() if quoted else at)
        end = len(row) if end < 0 else end
        place = -1 if quoted else row.find('\\"', at, end)
        if place >= 0:
            return place - row.rfind("\n", 0, place)
        at = end + 1
    return 0


def _text_after_quote(row: str, delimiter: str, line_count: int) -> Reject:
    place = _place_after_quote(row, delimiter)
    before = row[:place]
    lines, column = before.count("\n"), place - (before.rfind("\n") + 1) + 1
    shown = row[place : place + _SHOWN_CHARACTERS].splitlines()[0]
    where = f"at column {column}" + (f", {lines} lines on," if lines else "")
    reason = f"text stands after a closing quote {where} {shown!r}"
    if before.endswith('\\"'):
        reason += "; a quote inside of a cell is doubled, a backslash before it has no meaning"
    if line_count > 1:
        reason += f"; the row takes up {line_count} lines"
    return Reject("text-after-quote", reason)


def _place_after_quote(row: str, delimiter: str) -> int:
    """Offset of the first character that stands where only a delimiter or the row's end may stand."""
    at = 0
    while True:
        quoted = _QUOTED.match(row, at)
        end = quoted.end() if quoted else at
        if quoted and end < len(row) and row[end] not in (delimiter, "\r", "\n"):
            return end
        following = row.find(delimiter, end)
        if following < 0:
            return end
        at = following + 1
