"""Whether a JSON file is one of lines, told by the first of them; and what a layout is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.blocks import parse_exactly
from lfwrap.data.readers.chunk_plan import ChunkPlan
from lfwrap.data.readers.json_files.wanted import SAMPLE_ROWS


@dataclass(frozen=True, slots=True)
class JsonLayout:
    """How a JSON file is laid out.

    Attributes:
        plan: how to read it.
        sample: its first rows.
        note: the layout, for the person.
        more: further lists, to be read after the first.
        records: the records, where they are not read in chunks.
        beside: what the object says beside the lists that are read, by key.
    """

    plan: ChunkPlan
    sample: list[Any]
    note: str
    more: tuple[ChunkPlan, ...] = ()
    records: Iterator[SourceRecord] | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)


class FirstLines:
    """The first lines of a file, each read for itself.

    Attributes:
        values: the values of those that are JSON.
        alone: whether there is but one line.
        first: the value of the first, or None.
        many: whether the file is one of lines.
    """

    def __init__(self, plan: ChunkPlan, head: str, *, named_lines: bool) -> None:
        """Read the first part of a file as lines."""
        whole = plan.start + len(head.encode()) >= plan.size
        pieces = head.split("\n")
        if not whole:
            pieces = pieces[:-1]
        texts = [piece for piece in pieces[: SAMPLE_ROWS + 1] if piece.strip()]
        read = [_value_of(piece) for piece in texts[:SAMPLE_ROWS]]
        self.values = [value for value in read if value is not None]
        self.alone = whole and len(texts) == 1
        self.first = read[0] if read else None
        follows = len(texts) > 1 or (bool(texts) and not whole)
        # Lines of a longer text may be JSON by themselves, too, but not its first one.
        goes_on = (named_lines and not begins_a_value("".join(texts[1:2]))) or _goes_on(texts, read)
        self.many = follows and isinstance(self.first, dict | list) and goes_on


def _goes_on(texts: Sequence[str], read: Sequence[Any]) -> bool:
    """Whether what follows the first line may be lines, too: one of them is whole, or the next begins like one."""
    following = texts[1].lstrip() if len(texts) > 1 else ""
    starts = following[:1] in {"{", "["} and not begins_a_value(following)
    return starts or any(isinstance(value, dict | list) for value in read[1:])


def begins_a_value(line: str) -> bool:
    """Whether a line holds nothing but the bracket that opens a value of several lines."""
    return line.strip() in {"{", "["}


def _value_of(line: str) -> Any:
    try:
        return parse_exactly(line)
    except Reject:
        return None


def lines_layout(plan: ChunkPlan, sample: list[Any]) -> JsonLayout:
    """The layout of a file with a record on each line."""
    return JsonLayout(plan, sample, "JSON lines")
