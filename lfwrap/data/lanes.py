"""What became of the records of a block, and the slow lane: every record by itself, through every check."""

from __future__ import annotations

from dataclasses import dataclass, field

from lfwrap.data.blocks import Block
from lfwrap.data.convert import Conversion, convert_record
from lfwrap.data.formats.base import Reject, RowNotes


@dataclass(slots=True)
class Rows:
    """What became of the positions of a block.

    Attributes:
        lines: output lines, in order.
        keys: their keys.
        skipped: positions without a line, rejects and blanks, in order.
        rejects: position → why.
        notes: position → repairs and warnings, where there are any.
        checked: indices of ``lines`` that went through the slow lane.
    """

    lines: list[bytes] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    rejects: dict[int, Reject] = field(default_factory=dict)
    notes: dict[int, RowNotes] = field(default_factory=dict)
    checked: set[int] = field(default_factory=set)

    def joined(self) -> bytes:
        """All lines, each with its line break."""
        return b"\n".join([*self.lines, b""])

    def positions(self) -> list[int]:
        """The position that each line comes from."""
        skipped = set(self.skipped)
        return [position for position in range(len(self.lines) + len(skipped)) if position not in skipped]

    def drop(self, rejects: dict[int, Reject]) -> None:
        """Take lines out after all; ``rejects`` is by index of ``lines``. Indices in ``checked`` follow."""
        places = self.positions()
        for index in sorted(rejects, reverse=True):
            del self.lines[index], self.keys[index]
            self.rejects[places[index]] = rejects[index]
            self.skipped.append(places[index])
            self.notes.pop(places[index], None)
            self.checked = {other - (other > index) for other in self.checked if other != index}
        self.skipped.sort()


class SlowLane:
    """Every check on one record at a time."""

    def __init__(self, block: Block, conversion: Conversion) -> None:
        self.block = block
        self.conversion = conversion
        self.rows = Rows()

    def take(self, position: int) -> None:
        """Convert the record at a position, or note why it can't be."""
        notes, rows = RowNotes(), self.rows
        try:
            line, key = convert_record(self.block.record(position), self.conversion, notes)
        except Reject as reject:
            rows.rejects[position] = reject
            rows.skipped.append(position)
            return
        if notes.repairs or notes.warnings:
            rows.notes[position] = notes
        rows.checked.add(len(rows.lines))
        rows.lines.append(line)
        rows.keys.append(key)

    def take_all(self) -> Rows:
        """Convert every record of the block."""
        blanks = set(self.block.blanks)
        for position in range(self.block.size):
            if position in blanks:
                self.rows.skipped.append(position)
            else:
                self.take(position)
        return self.rows
