"""A quick look for the literals without which no rule has anything to say about the texts of a row.

The rules' own patterns take some ten times as long as the search for all of their literals at once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import ahocorasick_rs
import orjson

from lfwrap.data.schema.redaction import LITERALS
from lfwrap.data.schema.rules import CHANNEL_MARK, DAMAGE, MEDIA_KINDS, PLACEHOLDER
from lfwrap.engine.chat_templates import chat_template

# Vector instructions compare as many bytes at a place as the shortest literal has: two passes, one for the few short
# ones, take half as long as three for 16 literals each, and a quarter of one for all.
_SHORT_BYTES = 3


class Prefilter:
    """Finds the lines of a large block of output that hold any of many literals: only these need the rules."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        """Prepare the search for literals as they are spelled in what is searched."""
        ordered = sorted(set(needles))
        short = [needle for needle in ordered if len(needle) <= _SHORT_BYTES]
        long = [needle for needle in ordered if len(needle) > _SHORT_BYTES]
        # Of overlapping literals one is enough to have the line looked at; this kind of match is by far the quickest.
        self._automata = [
            ahocorasick_rs.BytesAhoCorasick(some, matchkind=ahocorasick_rs.MatchKind.LeftmostFirst)
            for some in (short, long)
            if some
        ]

    def starts_of_lines(self, output: bytes | bytearray) -> list[int]:
        """Offsets of the lines that contain a literal, in order."""
        matches = (automaton.find_matches_as_indexes(output) for automaton in self._automata)
        return sorted({output.rfind(b"\n", 0, offset) + 1 for found in matches for _, offset, _ in found})

    def finds(self, content: bytes) -> bool:
        """Whether any of the literals is there."""
        return any(automaton.find_matches_as_indexes(content) for automaton in self._automata)


@functools.cache
def rules_prefilter(template: str) -> Prefilter:
    """Finds a template's literals in output lines, as JSON spells them."""
    return Prefilter(orjson.dumps(literal)[1:-1] for literal in _literals(template))


def may_break_a_rule(texts: Iterable[str], template: str) -> bool:
    """Whether some rule may have something to say about texts: False only where none has.

    >>> may_break_a_rule(["Hello"], ""), may_break_a_rule(["Hello", "<|im_end|>"], "")
    (False, True)
    """
    try:
        content = "\n".join(texts).encode()
    except UnicodeEncodeError:  # half of a character
        return True
    return _text_prefilter(template).finds(content)


@functools.cache
def _text_prefilter(template: str) -> Prefilter:
    return Prefilter(literal.encode() for literal in _literals(template))


def _literals(template: str) -> list[str]:
    facts = chat_template(template)
    media = (f"<{kind}>" for kind in MEDIA_KINDS)
    return [*facts.special_tokens, *LITERALS, *DAMAGE, PLACEHOLDER, CHANNEL_MARK, *media]
