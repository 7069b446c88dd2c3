"""How the records of a JSON file are laid out: as lines, a list, lists in an object, columns, or in a row."""

from __future__ import annotations

from lfwrap.data.readers.chunk_plan import ChunkPlan, Layout
from lfwrap.data.readers.json_files.json_lines import FirstLines, JsonLayout, lines_layout
from lfwrap.data.readers.json_files.wanted import Wanted
from lfwrap.data.readers.sources import LINE_SUFFIXES, TextFile
from lfwrap.errors import DataError

JSON_SUFFIXES = {".json", *LINE_SUFFIXES}
_SHOWN_CHARACTERS = 40


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


def _no_json(text: TextFile, head: str) -> DataError:
    space = len(head) - len(head.lstrip())
    line, column = head.count("\n", 0, space) + 1, space - head.rfind("\n", 0, space)
    shown = head.lstrip().partition("\n")[0][:_SHOWN_CHARACTERS]
    return DataError(
        f"{text.name}:{line}:{column}  not valid JSON: it begins with {shown!r}",
        hint="JSON begins with { or [ and has no comments; correct the file, or give it the suffix of what it is.",
    )
