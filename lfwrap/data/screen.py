"""Whether any of many literals stands in a large block of output, all of them found in one pass."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import ahocorasick_rs
import orjson

from lfwrap.data.secrets import LITERALS
from lfwrap.data.templates import template_facts

_MEDIA = ("<image>", "<video>", "<audio>")


class Screen:
    """Literals to look for, as they stand in a line of JSON."""

    def __init__(self, literals: Iterable[str]) -> None:
        written = {orjson.dumps(literal)[1:-1] for literal in literals}
        # Of overlapping literals one is enough to have the line looked at; this kind of match is by far the quickest.
        self._automaton = ahocorasick_rs.BytesAhoCorasick(
            sorted(written), matchkind=ahocorasick_rs.MatchKind.LeftmostFirst
        )

    def starts_of_lines(self, output: bytes | bytearray) -> list[int]:
        """Offsets of the lines in which a literal stands, in order."""
        found: list[int] = []
        for _, offset, _ in self._automaton.find_matches_as_indexes(output):
            start = output.rfind(b"\n", 0, offset) + 1
            if not found or found[-1] != start:
                found.append(start)
        return found


@functools.cache
def rules_screen(template: str) -> Screen:
    """The literals without which no rule has anything to say about a plain row for a template."""
    facts = template_facts(template)
    return Screen([*facts.special_tokens, *LITERALS, "{{idx}}", *(_MEDIA if facts.media else ())])
