"""What became of the records of a block: output lines, keys, rejects and notes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.schema.fields import is_nothing


@dataclass(slots=True)
class Unused:
    """A field that rows of a block have and none was converted from.

    Attributes:
        count: rows that have it.
        value: the first value that says something, or None.
        position: of the record that the value is from.
    """

    count: int = 0
    value: Any = None
    position: int = 0


@dataclass(slots=True)
class ConvertedRows:
    """The results of a block, by the positions of its records.

    Attributes:
        output: output lines, in order, each with its line break.
        keys: their keys.
        skipped: positions without a line, rejects and blanks, in order.
        rejects: position → why.
        notes: position → repairs and warnings, where there are any.
        checked: indices of lines that took the record path.
        unused: path → a field that was not converted.
    """

    output: bytearray = field(default_factory=bytearray)
    keys: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rejects: dict[int, Reject] = field(default_factory=dict)
    notes: dict[int, RowNotes] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)
    unused: dict[str, Unused] = field(default_factory=dict)

    def add_unused(self, values: dict[str, Any], position: int) -> None:
        """Count the fields, by path, that the record at a position has and that were not converted."""
        for path, value in values.items():
            entry = self.unused.setdefault(path, Unused())
            entry.count += 1
            if entry.value is None and not is_nothing(value):
                entry.value, entry.position = value, position

    def lines(self) -> list[bytes]:
        """The output lines, each with its line break."""
        return bytes(self.output).splitlines(keepends=True)

    def positions(self) -> list[int]:
        """The position that each line comes from."""
        skipped = set(self.skipped)
        return [position for position in range(len(self.keys) + len(skipped)) if position not in skipped]

    def drop(self, rejects: dict[int, Reject]) -> None:
        """Take lines out after all; ``rejects`` is by index of the lines."""
        if not rejects:
            return
        places = self.positions()
        for index, reject in rejects.items():
            self.rejects[places[index]] = reject
            self.skipped.append(places[index])
            self.notes.pop(places[index], None)
        self.skipped.sort()
        kept = [index for index in range(len(self.keys)) if index not in rejects]
        lines = self.lines()
        self.output = bytearray().join(_chosen(lines, kept))
        self.keys = [self.keys[index] for index in kept]
        self.checked = {place for place, index in enumerate(kept) if index in self.checked}


def _chosen(lines: list[bytes], indices: Iterable[int]) -> Iterable[bytes]:
    return (lines[index] for index in indices)
