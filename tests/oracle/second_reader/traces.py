"""Whether each written text stands in the source, whatever its layout: nothing may be made up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from second_reader.values import readable

_MARKS = re.compile(r"</?think>|</?tool_call>|</?tool_response>|<\|im_end\|>|<\|im_start\|>user|^Error: ", re.MULTILINE)
_PLACE_HOLDER = re.compile(r"^\[(?:image|audio|resource|blob): [\w./+ -]*\]$")


def leaves(value: Any) -> Iterator[str]:
    """All texts of a value, and those inside of texts that are JSON; keys, too, and numbers as they are written."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from leaves(held)
    elif isinstance(value, list):
        for held in value:
            yield from leaves(held)
        texts = [held["text"] for held in value if isinstance(held, dict) and isinstance(held.get("text"), str)]
        if len(texts) > 1:
            yield "".join(texts)  # parts of one text
    elif isinstance(value, str):
        yield value
        yield readable(value)
        if value.lstrip()[:1] in {"{", "[", '"'}:
            inner = _parsed(value)
            yield from leaves(inner) if inner is not None else ()
    elif value is not None:
        yield json.dumps(value)


class Source:
    """All lines of all texts of a source."""

    def __init__(self, values: list[Any]) -> None:
        self.lines = {line.strip() for value in values for text in leaves(value) for line in text.split("\n")}
        self.all = "\n".join(sorted(self.lines))

    def lacks(self, row: Any) -> str:
        """A line of a written row that stands nowhere in the source, or nothing."""
        texts = [turn["value"] for turn in row["conversations"]] + [row["system"]]
        return next((line for text in texts for line in self._untraced(text)), "")

    def _untraced(self, text: str) -> Iterator[str]:
        for line in _MARKS.sub("\n", text).split("\n"):
            said = line.strip()
            if said in self.lines or said in self.all or _PLACE_HOLDER.match(said):
                continue
            value = _parsed(said)
            if not isinstance(value, dict | list):
                yield said
            elif lost := [text for text in _texts(value) if not self._holds(text)]:
                yield lost[0]

    def _holds(self, leaf: str) -> bool:
        lines = (line.strip() for line in _MARKS.sub("\n", leaf).split("\n"))
        if leaf in {"name", "arguments", "content"} or all(one in self.lines or one in self.all for one in lines):
            return True
        value = _parsed(leaf)
        return isinstance(value, dict | list) and all(map(self._holds, _texts(value)))


def _texts(value: Any) -> Iterator[str]:
    """The keys and texts of a value; numbers may be spelled anew."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
    for held in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(held)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
