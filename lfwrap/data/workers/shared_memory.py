"""How output lines get from a worker to its parent: through memory that both have, or else through a file.

A pipe would copy them four times, and a file costs the kernel fresh pages for every block; the same few pages of
memory, again and again, cost one copy.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import NamedTuple


class InSlot(NamedTuple):
    """Where lines lie in shared memory."""

    slot: int
    size_bytes: int


class Slots:
    """Pieces of memory that processes forked later on share: a worker fills one, its parent reads it and frees it."""

    def __init__(self, count: int, size_bytes: int) -> None:
        """Reserve memory; none of it is taken before it is written to."""
        self._pieces = [mmap.mmap(-1, size_bytes) for _ in range(count)]
        self._free = list(range(count))

    def acquire(self) -> int:
        """A slot that nobody uses. Raises IndexError when there is none."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Let others use a slot."""
        self._free.append(slot)

    def fill(self, slot: int, lines: bytes | bytearray | memoryview) -> InSlot | None:
        """Put lines into a slot; None where they don't fit."""
        piece = self._pieces[slot]
        if len(lines) > len(piece):
            return None
        piece[: len(lines)] = lines
        return InSlot(slot, len(lines))

    def view(self, place: InSlot) -> memoryview:
        """The lines in a slot; they stand there until the slot is released."""
        return memoryview(self._pieces[place.slot])[: place.size_bytes]


def put_in_file(lines: bytes | bytearray | memoryview, folder: Path) -> Path:
    """A new file with these lines."""
    import tempfile

    descriptor, name = tempfile.mkstemp(prefix="lines.", dir=folder)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(lines)
    return Path(name)


def take_from_file(path: Path) -> bytes:
    """The lines of a file, which is gone afterwards."""
    content = path.read_bytes()
    path.unlink()
    return content
