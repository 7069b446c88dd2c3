"""Whether any of many literals stands in a large block of output."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import ahocorasick_rs
import orjson

from lfwrap.data.schema.redaction import LITERALS
from lfwrap.engine.chat_templates import template_facts

_MEDIA = ("<image>", "<video>", "<audio>")
# Vector instructions compare as many bytes at a place as the shortest literal has: two passes, one for the few short
# ones, take half as long as three for 16 literals each, and a quarter of one for all.
_SHORT_BYTES = 3


class Screen:
    """Literals to look for, as they stand in a line of JSON."""

    def __init__(self, literals: Iterable[str]) -> None:
        written = {orjson.dumps(literal)[1:-1] for literal in literals}
        needles = sorted(written)
        short = [needle for needle in needles if len(needle) <= _SHORT_BYTES]
        long = [needle for needle in needles if len(needle) > _SHORT_BYTES]
        # Of overlapping literals one is enough to have the line looked at; this kind of match is by far the quickest.
        self._automata = [
            ahocorasick_rs.BytesAhoCorasick(some, matchkind=ahocorasick_rs.MatchKind.LeftmostFirst)
            for some in (short, long)
            if some
        ]

    def starts_of_lines(self, output: bytes | bytearray) -> list[int]:
        """Offsets of the lines in which a literal stands, in order."""
        matches = (automaton.find_matches_as_indexes(output) for automaton in self._automata)
        return sorted({output.rfind(b"\n", 0, offset) + 1 for found in matches for _, offset, _ in found})


@functools.cache
def rules_screen(template: str) -> Screen:
    """The literals without which no rule has anything to say about a plain row for a template."""
    facts = template_facts(template)
    return Screen([*facts.special_tokens, *LITERALS, "{{idx}}", *(_MEDIA if facts.media else ())])
