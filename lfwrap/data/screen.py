"""Whether any of many literals stands in a large block of output, all of them found in one pass."""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

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

    def lines_with(self, lines: Sequence[bytes], joined: bytes) -> list[int]:
        """Indices of the lines in which a literal stands, in order.

        Args:
            lines: the lines.
            joined: the same, joined by one byte each.
        """
        matches = self._automaton.find_matches_as_indexes(joined)
        if not matches:
            return []
        ends = list(accumulate(len(line) + 1 for line in lines))
        return sorted({bisect_right(ends, start) for _, start, _ in matches})


@functools.cache
def rules_screen(template: str) -> Screen:
    """The literals without which no rule has anything to say about a plain row for a template."""
    facts = template_facts(template)
    return Screen([*facts.special_tokens, *LITERALS, "{{idx}}", *(_MEDIA if facts.media else ())])
