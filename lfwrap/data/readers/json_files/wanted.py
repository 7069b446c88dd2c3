"""What the user said about the records of a file, and what records say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.formats import FORMATS

SAMPLE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user said about the records of a file.

    Attributes:
        member: the list that is meant, or empty.
        format: the format, or None.
        columns: field → column.
    """

    member: str = ""
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has the columns or the format that the user named."""
        if self.columns:
            return all(column in row for column in self.columns.values())
        return self.format is not None and FORMATS[self.format].evidence(row) is not None


def evidence_of(record: Mapping[str, Any]) -> str | None:
    """The format that a record looks like, or None.

    >>> evidence_of({"instruction": "…", "output": "…"}), evidence_of({"id": 1})
    ('alpaca', None)
    """
    return next((name for name, known in FORMATS.items() if known.evidence(record) is not None), None)
