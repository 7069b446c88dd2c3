"""Tables that are no text: workbooks, Parquet and Arrow; and those that lfwrap does not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.readers.sources import ARROW_SUFFIXES, FOREIGN_SUFFIXES
from lfwrap.errors import DataError


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table, and where they were found, for the person."""

    records: Iterator[SourceRecord]
    note: str


def read_table(path: Path, name: str, suffix: str, member: str, mapping: Mapping[str, str]) -> Table:
    """The rows of a table, in order.

    Args:
        path: the file.
        name: the file as the user named it.
        suffix: the suffix that tells its kind.
        member: the sheet of a workbook that the user named, or empty.
        mapping: field → column, as the user named them.

    Raises:
        PreflightError: a package is missing.
        DataError: the file can't be read, or holds no table.
    """
    if suffix in FOREIGN_SUFFIXES:
        raise DataError(
            f"{name}: {FOREIGN_SUFFIXES[suffix]} is not read",
            hint=f"Save it as .xlsx or as CSV; LibreOffice does so by `soffice --headless --convert-to xlsx {name}`.",
        )
    if suffix not in ARROW_SUFFIXES:
        from lfwrap.data.readers.tables.workbook import read_workbook

        return Table(*read_workbook(path, name, member, mapping))
    from lfwrap.data.readers.tables.arrow_tables import read_arrow, read_parquet

    return Table(read_parquet(path, name) if suffix == ".parquet" else read_arrow(path, name), suffix[1:])
