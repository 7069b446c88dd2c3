"""JSON lines whose texts are copied as they are spelled: what is written as we would write it need not be read.

Whether it is shows in a whole block at once: valid UTF-8, no control character, and no escape that is no escape, or
that we would not write. Lines where anything of that is found, or that have other keys, are left to those who read.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import ahocorasick_rs
import orjson
import xxhash

from lfwrap.data.lanes import SlowLane
from lfwrap.data.plain import Shape, plain_line

_BYTES_PER_LINE_TO_READ = 8 << 10  # where more lines than these have to be read, copying the others would not pay
_QUOTE, _BRACE = ord('"'), ord("}")
_BEFORE, _BETWEEN, _AFTER = plain_line("\0", "", "\0").split(rb"\u0000")
# First bytes of characters that are no white space; of those that are not here, some are.
_INK = frozenset({*range(0x21, 0x7F), *range(0xC3, 0xE1), *range(0xE4, 0xF5)} - set(b'"\\'))


class Frame(NamedTuple):
    """What stands around the texts of a line, as its file spaces it.

    Attributes:
        start: before the instruction.
        after_ask: between the instruction and what follows it.
        after_more: between the input and the output; empty where there is no input.
    """

    start: bytes
    after_ask: bytes
    after_more: bytes


def frame_of(content: bytes, shape: Shape) -> Frame | None:
    """The frame of a block's first line; None where it begins in another way."""
    line = content[: content.find(b"\n")]
    return next((frame for frame in _frames(shape) if line.startswith(frame.start) and frame.after_ask in line), None)


@functools.lru_cache(maxsize=64)
def _frames(shape: Shape) -> list[Frame]:
    ask, *others = (orjson.dumps(name) for name in shape.names)
    frames = []
    for comma, colon in ((b", ", b": "), (b",", b":"), (b", ", b":"), (b",", b": ")):
        between = [b'"' + comma + name + colon + b'"' for name in others]
        frames.append(Frame(b"{" + ask + colon + b'"', between[0], b"".join(between[1:])))
    return frames


def lines_to_read(content: bytes, frame: Frame) -> set[int] | None:
    """Positions of lines that must not be copied, whatever their frame; None where reading them all is quicker."""
    limit = len(content) // _BYTES_PER_LINE_TO_READ + 1
    found: list[int] = []
    for offset in _oddly_spelled(content, frame):
        found.append(offset)
        if len(found) > limit:
            return None
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    for controls in _control_characters():
        found += (start for _, start, _ in controls.find_matches_as_indexes(content))
    if len(found) > limit:
        return None
    positions, position, before = set(), 0, 0
    for offset in sorted(found):
        position += content.count(b"\n", before, offset)
        positions.add(position)
        before = offset
    return positions


def _oddly_spelled(content: bytes, frame: Frame) -> Iterable[int]:
    """An offset in each line with an escape that orjson would not write, or with an escaped quote that ends a text."""
    pattern, end = _odd_spelling(frame), 0
    while match := pattern.search(content, end):
        yield match.start()
        end = content.find(b"\n", match.start()) + 1 or len(content)


@functools.lru_cache(maxsize=64)
def _odd_spelling(frame: Frame) -> re.Pattern[bytes]:
    ends = b"|".join(re.escape(end) for end in (frame.after_ask, frame.after_more, b'"}\n') if end)
    return re.compile(rb'\\(?:[^"\\bfnrt]|\\"|' + ends + b")")


@functools.cache
def _control_characters() -> list[ahocorasick_rs.BytesAhoCorasick]:
    """Automata for all but the line break; vector instructions look for 16 single bytes at once."""
    characters = [bytes([code]) for code in range(0x20) if code != ord("\n")]
    kind = ahocorasick_rs.MatchKind.LeftmostFirst
    return [ahocorasick_rs.BytesAhoCorasick(some, matchkind=kind) for some in (characters[:16], characters[16:])]


def copy_lines(
    content: bytes, frame: Frame, to_read: set[int], slow: SlowLane, read: Callable[[int, bytes], None]
) -> int:
    """Copy the texts of a block's lines into output lines; returns how many lines there are.

    One long loop: a call for each row would cost a good part of copying it.

    Args:
        content: the block.
        frame: the frame of its lines.
        to_read: positions of lines that must not be copied.
        slow: its rows take the output lines and their keys.
        read: called with the position and the bytes of every line that isn't copied.
    """
    begin, skip = len(frame.start), len(frame.after_more)
    start, after_ask, after_more = frame.start, frame.after_ask, frame.after_more
    output, add_key, seed = slow.rows.output, slow.rows.keys.append, slow.conversion.seed
    digest, join = xxhash.xxh3_128_intdigest, b"".join
    # The answer is copied with the two characters that end a line of input as they end a turn of the output.
    before, between, after, ink = _BEFORE, _BETWEEN, _AFTER.removeprefix(b'"}'), _INK
    position = -1
    for position, raw in enumerate(io.BytesIO(content)):
        head, _, rest = raw.partition(after_ask)
        question = head[begin:]
        if rest.startswith(after_more):
            answer = rest[skip:-1]
        else:
            more, _, answer = rest.partition(after_more)
            question, answer = join((question, b"\\n", more)), answer[:-1]
        if (
            (answer.find(b'"') == len(answer) - 2 or _is_one_text(answer))
            and answer[-1] == _BRACE
            and head.startswith(start)
            and (_QUOTE not in question or question.count(b'"') == question.count(b'\\"'))
            and position not in to_read
            and (raw[begin] in ink or _has_ink(head[begin:]))
            and (answer[0] in ink or _has_ink(answer[:-2]))
        ):
            line = join((before, question, between, answer, after))
            output += line
            add_key(digest(line, seed))
        else:
            read(position, raw)
    return position + 1


def _is_one_text(answer: bytes) -> bool:
    """Whether the only quotation mark that is not escaped ends the answer."""
    return answer.endswith(b'"}') and answer.count(b'"') - 1 == answer.count(b'\\"')


def _has_ink(text: bytes) -> bool:
    return bool(orjson.loads(b'"' + text + b'"').strip())
