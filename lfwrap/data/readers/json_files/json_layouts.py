"""How the records of a JSON file are laid out: as lines, a list, lists in an object, columns, or in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.data.formats.base import Reject, SourceRecord
from lfwrap.data.readers.blocks import parse_exactly
from lfwrap.data.readers.chunk_plan import ChunkPlan, Layout
from lfwrap.data.readers.json_files.wanted import SAMPLE_ROWS, Wanted
from lfwrap.data.readers.sources import TextFile
from lfwrap.errors import DataError

LINE_SUFFIXES = {".jsonl", ".ndjson", ".jsonlines"}
JSON_SUFFIXES = {".json", *LINE_SUFFIXES}
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class JsonLayout:
    """How a JSON file is laid out.

    Attributes:
        plan: how to read it.
        sample: its first rows.
        note: the layout, for the person.
        more: further lists, to be read after the first.
        records: the records, where they are not read in chunks.
    """

    plan: ChunkPlan
    sample: list[Any]
    note: str
    more: tuple[ChunkPlan, ...] = ()
    records: Iterator[SourceRecord] | None = None


def detect_json(text: TextFile, head: str, wanted: Wanted) -> JsonLayout:
    """Find out how a file of JSON text is laid out.

    Args:
        text: the file.
        head: the first part of its text.
        wanted: what the user said about it.

    Raises:
        DataError: it is not JSON, with the place; or it holds several lists that don't belong together.
    """
    plan = ChunkPlan(Layout.LINES, text.path, text.start, text.path.stat().st_size, name=text.name)
    lines = FirstLines(plan, head, named_lines=text.suffix in LINE_SUFFIXES)
    opening = head.lstrip()[:1]
    if wanted.member and (opening != "{" or lines.many):
        raise DataError(
            f"{text.name}: there is no list '{wanted.member}' in it: its records stand in no object",
            hint=f"Name the file alone: {text.name}",
        )
    if lines.many or (lines.values and text.suffix in LINE_SUFFIXES and opening not in {"[", "{"}):
        return lines_layout(plan, lines.values)
    if opening not in {"[", "{"}:
        raise _no_json(text, head)
    from lfwrap.data.readers.json_files import json_whole  # most files are lines, and those need none of it

    if opening == "[":
        return json_whole.list_layout(plan, head, head.index("[") + 1)
    return json_whole.object_layout(text, plan, lines, wanted)


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


def _no_json(text: TextFile, head: str) -> DataError:
    space = len(head) - len(head.lstrip())
    line, column = head.count("\n", 0, space) + 1, space - head.rfind("\n", 0, space)
    shown = head.lstrip().partition("\n")[0][:_SHOWN_CHARACTERS]
    return DataError(
        f"{text.name}:{line}:{column}  not valid JSON: it begins with {shown!r}",
        hint="JSON begins with { or [ and has no comments; correct the file, or give it the suffix of what it is.",
    )


def lines_layout(plan: ChunkPlan, sample: list[Any]) -> JsonLayout:
    """The layout of a file with a record on each line."""
    return JsonLayout(plan, sample, "JSON lines")
