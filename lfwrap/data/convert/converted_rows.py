"""What became of the records of a block: output lines, keys, rejects and notes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lfwrap.data.formats.base import Reject, RowNotes


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
    """

    output: bytearray = field(default_factory=bytearray)
    keys: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rejects: dict[int, Reject] = field(default_factory=dict)
    notes: dict[int, RowNotes] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)

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
