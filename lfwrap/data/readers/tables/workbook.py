"""Workbooks (XLSX): which sheet holds the table, and its rows."""

from __future__ import annotations

import itertools
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.tables.sheet_cells import cell_value
from lfwrap.data.readers.tables.table_header import (
    HEAD_ROWS,
    column_names,
    find_header,
    is_known_header,
    is_repeated_header,
    trained_columns,
)
from lfwrap.data.schema.columns import normalise_name
from lfwrap.errors import DataError, PreflightError

_OLE_MAGIC = b"\xd0\xcf\x11\xe0"
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s+ref="([A-Z]+)(\d+):([A-Z]+)(\d+)"')
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
_WINDOW_BYTES = 1 << 20
_OVERLAP_BYTES = 100


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What a sheet holds, by its first rows.

    Attributes:
        sheet: openpyxl's sheet.
        header: 0-based row of the header, or None on an empty sheet.
        names: the header.
        is_known: whether its names are those of training data.
        has_rows: whether anything stands below the header.
    """

    sheet: Any
    header: int | None
    names: tuple[str, ...] = ()
    is_known: bool = False
    has_rows: bool = False

    @property
    def title(self) -> str:
        return str(self.sheet.title)

    @property
    def is_hidden(self) -> bool:
        return str(self.sheet.sheet_state) != "visible"

    def described(self) -> str:
        """The name, and why the sheet is not read."""
        kinds = ["hidden"] if self.is_hidden else []
        kinds += ["empty"] if self.header is None else [] if self.has_rows else ["no rows"]
        kinds += ["no question and answer"] if not kinds and not self.is_known else []
        return f'"{self.title}"' + (f" ({', '.join(kinds)})" if kinds else "")


def read_workbook(path: Path, name: str, member: str, mapping: Mapping[str, str]) -> tuple[Iterator[SourceRecord], str]:
    """The rows of one sheet by the names in its header, empty rows left out; and which sheets there are.

    Args:
        path: the workbook.
        name: the file as the user named it.
        member: the sheet that the user named; empty to take the only one with a table.
        mapping: field → column, as the user named them.

    Raises:
        PreflightError: openpyxl is not installed.
        DataError: no workbook, no such sheet, no table, or several.
    """
    book = _open(path, name, data_only=True)
    sheets = [_look_at(sheet, mapping) for sheet in book.worksheets]
    chosen = _named(sheets, name, member) if member else _only_table(sheets, name)
    if chosen.header is None:
        raise DataError(f'{name}: the sheet "{chosen.title}" is empty', hint=_hint(sheets, name))
    others = [sheet.described() for sheet in sheets if sheet is not chosen]
    above = f", header in row {chosen.header + 1}" if chosen.header else ""
    what = "other sheets" if member else "not read"
    note = f'xlsx, sheet "{chosen.title}"{above}' + (f"; {what}: {', '.join(others)}" if others else "")
    return _rows(path, name, chosen, mapping), note


def _open(path: Path, name: str, *, data_only: bool) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise PreflightError(f"{name}: reading .xlsx needs openpyxl", hint="pip install 'lfwrap[data]'") from error
    with path.open("rb") as source:
        if source.read(len(_OLE_MAGIC)) == _OLE_MAGIC:
            raise DataError(
                f"{name}: not a readable workbook: it has a password, or is in the format before 2007 (.xls)",
                hint="Save it as .xlsx without a password, or export it as CSV.",
            )
    try:
        return openpyxl.load_workbook(path, read_only=True, data_only=data_only)
    except Exception as error:  # openpyxl lets zipfile's, XML's and its own errors through
        raise DataError(
            f"{name}: not a readable workbook: {error}", hint="Save it again, or export it as CSV."
        ) from error


def _look_at(sheet: Any, mapping: Mapping[str, str]) -> _Sheet:
    sheet.reset_dimensions()  # what a file says of its own extent may be wrong, and cells beyond it would be lost
    rows = sheet.iter_rows(values_only=True)
    head = [["" if cell is None else str(cell) for cell in row] for row in itertools.islice(rows, HEAD_ROWS)]
    place = find_header(head, mapping)
    if place is None:
        later = next((number for number, row in enumerate(rows, HEAD_ROWS) if _holds_something(row)), None)
        return _Sheet(sheet, None) if later is None else _look_further(sheet, later)
    names = tuple(head[place])
    has_rows = any(any(row) for row in head[place + 1 :]) or any(_holds_something(row) for row in rows)
    return _Sheet(sheet, place, names, is_known_header(names, mapping), has_rows)


def _look_further(sheet: Any, place: int) -> _Sheet:
    """A sheet whose first rows are all blank: its header is the first that is not."""
    rows = itertools.islice(sheet.iter_rows(values_only=True), place, None)
    names = tuple("" if cell is None else str(cell) for cell in next(rows))
    return _Sheet(sheet, place, names, is_known_header(names, {}), any(_holds_something(row) for row in rows))


def _holds_something(cells: Any) -> bool:
    return any(cell is not None for cell in cells)


def _named(sheets: list[_Sheet], name: str, member: str) -> _Sheet:
    exact = [sheet for sheet in sheets if sheet.title == member]
    found = exact or [sheet for sheet in sheets if normalise_name(sheet.title) == normalise_name(member)]
    if len(found) != 1:
        titles = ", ".join(f'"{sheet.title}"' for sheet in sheets)
        raise DataError(f'{name}: there is no sheet "{member}"; the sheets are {titles}', hint=_hint(sheets, name))
    return found[0]


def _only_table(sheets: list[_Sheet], name: str) -> _Sheet:
    """The sheet that holds the table; two of them are not chosen between."""
    with_rows = [sheet for sheet in sheets if sheet.has_rows and not sheet.is_hidden]
    tables = [sheet for sheet in with_rows if sheet.is_known] or with_rows
    if len(tables) == 1:
        return tables[0]
    if not tables:
        said = ", ".join(sheet.described() for sheet in sheets)
        raise DataError(f"{name}: no sheet holds a table: {said}", hint=_hint(sheets, name))
    counted = ", ".join(f'"{sheet.title}" ({_counted(sheet)})' for sheet in tables)
    others = ", ".join(sheet.described() for sheet in sheets if sheet not in tables)
    raise DataError(
        f"{name}: {len(tables)} sheets hold a table: {counted}{f'; beside them {others}' if others else ''}",
        hint=f"Name those that are meant, each as a source of its own: {_hint(tables, name)}",
    )


def _count(sheet: _Sheet) -> int:
    rows = itertools.islice(sheet.sheet.iter_rows(values_only=True), (sheet.header or 0) + 1, None)
    return sum(_holds_something(row) for row in rows)


def _counted(sheet: _Sheet) -> str:
    count = _count(sheet)
    return f"{count:,} row{'s' if count > 1 else ''}"


def _told_apart(sheet: _Sheet) -> str:
    """What goes behind the name of a sheet that alone would be taken for a number of rows."""
    return f"#{_count(sheet)}" if sheet.title.isdecimal() else ""


def _hint(sheets: list[_Sheet], name: str) -> str:
    usable = [sheet for sheet in sheets if sheet.has_rows][:3]
    shown = " ".join(f"'{name}#{sheet.title}{_told_apart(sheet)}'" for sheet in usable)
    return shown or "Put the table on a sheet, with the names of its columns in the first row."


@dataclass(slots=True)
class _Merged:
    """Cells that are merged down a column: the value of the first holds for all of them."""

    lasts: dict[tuple[int, int], int] = field(default_factory=dict)
    _held: dict[int, tuple[int, Any]] = field(default_factory=dict)

    def fill(self, number: int, values: list[Any], repairs: set[str]) -> None:
        """Give a row, by its 1-based number, the values that reach down to it."""
        for column, value in enumerate(values):
            last = self.lasts.get((number, column))
            if last is not None:
                self._held[column] = (last, value)
            elif value is None and (held := self._held.get(column)) and number <= held[0]:
                values[column] = held[1]
                repairs.add("merged-cell")


def _outline(path: Path, sheet: Any) -> tuple[_Merged, bool]:
    """The merged cells of a sheet, and whether it has formulas: a reader that streams rows tells neither."""
    from openpyxl.utils import column_index_from_string

    merged, has_formulas, window = _Merged(), False, b""
    with zipfile.ZipFile(path) as book, book.open(sheet._worksheet_path) as source:  # noqa: SLF001 - kept nowhere else
        while piece := source.read(_WINDOW_BYTES):
            window = window[-_OVERLAP_BYTES:] + piece
            has_formulas = has_formulas or _FORMULA.search(window) is not None
            for left, top, _, bottom in _MERGED.findall(window):
                if top != bottom:
                    merged.lasts[int(top), column_index_from_string(left.decode()) - 1] = int(bottom)
    return merged, has_formulas


def _rows(path: Path, name: str, chosen: _Sheet, mapping: Mapping[str, str]) -> Iterator[SourceRecord]:
    assert chosen.header is not None  # noqa: S101 - an empty sheet is refused before
    names = column_names(chosen.names, mapping, f'{name}: sheet "{chosen.title}":')
    trained = trained_columns(chosen.names, mapping)
    merged, has_formulas = _outline(path, chosen.sheet)
    formulas: Iterator[Any] = itertools.repeat(())
    if has_formulas:
        book = _open(path, name, data_only=False)
        sheet = book[chosen.title]
        sheet.reset_dimensions()
        formulas = sheet.iter_rows()
    number = 0
    rows = enumerate(zip(chosen.sheet.iter_rows(), formulas, strict=False), 1)
    for line, (cells, spelled) in itertools.islice(rows, chosen.header + 1, None):
        repairs: set[str] = set()
        values = [
            cell_value(cell.value, cell.number_format, is_error=cell.data_type == "e", repairs=repairs)
            if cell.value is not None
            else None
            for cell in cells
        ]
        unknown = [place for place, cell in enumerate(spelled) if _is_unknown(cell, cells[place])]
        if not unknown and not _holds_something(values):
            continue
        number += 1
        if unknown:
            repairs.add("formula-without-result")
        if needed := [place for place in unknown if place in trained]:
            cell = spelled[needed[0]]
            reason = f"{cell.coordinate} is a formula ({cell.value!s:.60}) without a stored result"
            yield SourceRecord(number, line, Reject("formula-without-result", reason))
            continue
        values += [None] * (len(names) - len(values))
        merged.fill(line, values, repairs)
        yield SourceRecord(number, line, _record(names, chosen.names, values), tuple(sorted(repairs)))


def _is_unknown(spelled: Any, cell: Any) -> bool:
    """Whether a cell is a formula whose result the file lacks; one whose result is empty text has the type of text."""
    return spelled.value is not None and spelled.data_type == "f" and cell.value is None and cell.data_type != "str"


def _record(names: tuple[str, ...], header: tuple[str, ...], values: list[Any]) -> dict[str, Any] | Reject:
    """The values by their names; what stands beyond the header or under no name has one of its own."""
    if is_repeated_header(["" if value is None else str(value) for value in values], header):
        return Reject("repeated-header", "the row says again what the header says")
    keys = (*names, *(f"column {place}" for place in range(len(names) + 1, len(values) + 1)))
    return {
        key: value
        for place, (key, value) in enumerate(zip(keys, values, strict=True))
        if value is not None or (place < len(header) and header[place].strip())
    }
