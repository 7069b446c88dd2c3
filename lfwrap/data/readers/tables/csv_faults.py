"""Rows of CSV text whose quotes are wrong: which they are, and where in them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lfwrap.data.formats.base import Reject

_QUOTED_AFTER_SPACE = re.compile(r' *"[^"]*+(?:""[^"]*+)*+"')
_QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
_SHOWN_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a table is written.

    Attributes:
        delimiter: what separates cells.
        skips_space: whether white space after a delimiter belongs to no cell.
        trained: places of the columns that are trained, or None where all may be.
    """

    delimiter: str
    skips_space: bool = False
    trained: frozenset[int] | None = None


def broken_rows(lines: Sequence[str], ends: Sequence[int], dialect: Dialect) -> dict[int, Reject]:
    r"""Which rows hold a quote where CSV has none: what they say depends on who reads them.

    That is text after a closing quote, and in a trained cell without quotes one with a backslash before it, or only
    blanks.

    Args:
        lines: the physical lines, with their line breaks.
        ends: for each row, how many lines end with it.
        dialect: how the table is written.

    >>> list(broken_rows(['"a "b" c",d\n', 'e,"f"\n'], [1, 2], Dialect(",")))
    [0]
    """
    found: dict[int, Reject] = {}
    start = 0
    for position, end in enumerate(ends):
        own, start = lines[start:end], end
        if not any('"' in line for line in own):
            continue
        try:
            next(csv.reader(own, delimiter=dialect.delimiter, strict=True, skipinitialspace=dialect.skips_space), [])
        except csv.Error:
            found[position] = _text_after_quote("".join(own), dialect.delimiter, len(own))
        else:
            if reject := _quote_in_a_bare_cell("".join(own), dialect):
                found[position] = reject
    return found


def _quote_in_a_bare_cell(row: str, dialect: Dialect) -> Reject | None:
    """Why a row is rejected in which a cell without quotes around it holds one that may be meant as such."""
    at = place = 0
    while at < len(row):
        quoted = (_QUOTED_AFTER_SPACE if dialect.skips_space else _QUOTED).match(row, at)
        end = row.find(dialect.delimiter, quoted.end() if quoted else at)
        end = len(row) if end < 0 else end
        if not quoted and (dialect.trained is None or place in dialect.trained):
            before = row.rfind("\n", 0, at)
            if (escaped := row.find('\\"', at, end)) >= 0:
                where = f"at column {escaped - before}, in a cell without quotes"
                return Reject("escaped-quote", f"a quote with a backslash before it stands {where}")
            if row[at] == " " and row[at:end].lstrip(" ").startswith('"'):
                where = f"at column {at - before}, before the quote"
                return Reject("space-before-quote", f"a blank stands {where}, so that the cell's quotes count as text")
        at, place = end + 1, place + 1
    return None


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
