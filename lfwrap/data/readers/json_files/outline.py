"""The outline of a large JSON value: where its parts begin and end, found without holding the value in memory.

Brackets are matched block by block. What stands between them is not looked at: whoever reads a part finds out whether
it is JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import IO, Any

from lfwrap.data.readers.blocks import decode

_WINDOW_BYTES = 1 << 18
_FINE_BYTES = 1 << 13
_SPACE = re.compile(rb"[ \t\r\n]*+")
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR = re.compile(rb"[^ \t\r\n,:\[\]{}\"]*+")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
# Much quicker than to look for either of the two: few backslashes stand before these.
_ESCAPED = re.compile(rb'\\["\\]')
_NOT_MARKS = bytes(set(range(256)) - set(b'"[]{}'))


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a JSON object and the place of its value.

    Attributes:
        key: the key; that of an object within an object stands after the outer one's and a dot.
        start: offset of the value.
        end: offset after it; the end of the file where the value is never closed.
        opening: its first character: ``[``, ``{``, a quotation mark, or another.
        first: the first character of what it holds, where it is a list; empty for an empty one.
    """

    key: str
    start: int
    end: int
    opening: str
    first: str = ""


class MalformedError(Exception):
    """The text is not JSON at an offset."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Outline:
    """What an object holds, as far as it could be made out.

    Attributes:
        entries: its keys, in order; the last one's value is never closed where ``error`` stands within it.
        end: offset after the object.
        error: where and why it is not JSON, or None.
    """

    entries: tuple[Entry, ...]
    end: int
    error: MalformedError | None = None


class JsonBytes:
    """A file of JSON text, looked at in windows."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self.size = size
        self._source = source
        self._base = 0
        self._window = b""

    def window(self, offset: int) -> bytes:
        """Some bytes from an offset on; none at the end."""
        at = offset - self._base
        if not 0 <= at < len(self._window):
            self._source.seek(offset)
            self._base, self._window, at = offset, self._source.read(min(_WINDOW_BYTES, self.size - offset)), 0
        return self._window[at:] if at else self._window

    def read(self, start: int, end: int) -> bytes:
        """The bytes between two offsets."""
        self._source.seek(start)
        return self._source.read(end - start)

    def past_space(self, offset: int) -> int:
        """The first offset from here on that is no white space."""
        while window := self.window(offset):
            match = _SPACE.match(window)
            space = match.end() if match else 0
            offset += space
            if space < len(window):
                break
        return offset

    def character(self, offset: int) -> str:
        """The (ASCII) character at an offset; empty at the end."""
        return self.window(offset)[:1].decode("latin-1")

    def end_of_value(self, start: int) -> int:
        """The offset after the value that starts here. Raises MalformedError."""
        opening = self.character(start)
        if opening == '"':
            return self._end_of_string(start + 1)
        if opening and opening in "[{":
            return self._end_of_container(start)
        end = start
        while window := self.window(end):
            match = _SCALAR.match(window)
            size = match.end() if match else 0
            end += size
            if size < len(window):
                break
        if end == start:
            raise MalformedError(start, "a value is missing" if opening else "the text ends too early")
        return end

    def _end_of_string(self, offset: int) -> int:
        while window := self.window(offset):
            match = _IN_STRING.match(window)
            offset += match.end() if match else 0
            character = self.character(offset)
            if character == '"':
                return offset + 1
            if character == "\\":  # the window ends between it and what it escapes
                offset += 2
        raise MalformedError(self.size, "a text is never closed")

    def _end_of_container(self, start: int) -> int:
        depth, in_string, offset = 0, False, start
        while block := self.window(offset)[: _FINE_BYTES if offset == start else None]:
            if block.endswith(b"\\") and (len(block) - len(block.rstrip(b"\\"))) % 2:
                block += self.read(offset + len(block), offset + len(block) + 1)
            closing, opening, ends_in_string = _brackets(block, in_string=in_string)
            if depth - closing <= 0 and (end := _end_within(block, depth, in_string=in_string)):
                return offset + end
            depth += opening - closing
            in_string = ends_in_string
            offset += len(block)
        raise MalformedError(self.size, "a bracket is never closed")


def _brackets(block: bytes, *, in_string: bool) -> tuple[int, int, bool]:
    """How many brackets a block closes that it does not open, and opens that it does not close; and its last state."""
    if _ESCAPED.search(block):
        block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
    parts = block.translate(None, _NOT_MARKS).split(b'"')
    left = b"".join(parts[in_string::2])
    size = 0
    while size != len(left):
        size = len(left)
        left = left.replace(b"{}", b"").replace(b"[]", b"")
    closing = left.count(b"}") + left.count(b"]")
    return closing, size - closing, in_string ^ (len(parts) % 2 == 0)


def _end_within(block: bytes, depth: int, *, in_string: bool) -> int:
    """The offset after the bracket that closes the outermost one; 0 where it is not in this block."""
    position = 0
    if in_string:
        match = _IN_STRING.match(block)
        position = match.end() + 1 if match else 0
    for token in _TOKEN.finditer(block, position):
        character = token.group()[:1]
        if character == b'"':
            continue
        depth += 1 if character in b"[{" else -1
        if not depth:
            return token.end()
    return 0


def outline(source: JsonBytes, start: int, prefix: str = "") -> Outline:
    """The keys of the object that starts at an offset, with the places of their values."""
    entries: list[Entry] = []
    offset = source.past_space(start + 1)
    try:
        if source.character(offset) == "}":
            return Outline((), offset + 1)
        while True:
            if source.character(offset) != '"':
                raise MalformedError(offset, "expected a key in double quotes")  # noqa: TRY301 - one place for all
            end = source.end_of_value(offset)
            key = prefix + _text(source.read(offset, end), offset)
            offset = source.past_space(end)
            if source.character(offset) != ":":
                raise MalformedError(offset, "expected ':' after a key")  # noqa: TRY301
            offset = source.past_space(offset + 1)
            entries.append(_entry(source, key, offset))
            end = entries[-1].end
            offset = source.past_space(end)
            following = source.character(offset)
            if following == "}":
                return Outline(tuple(entries), offset + 1)
            if following != ",":
                raise MalformedError(offset, "expected ',' or '}'")  # noqa: TRY301
            offset = source.past_space(offset + 1)
    except MalformedError as error:
        return Outline(tuple(entries), source.size, error)


def _entry(source: JsonBytes, key: str, start: int) -> Entry:
    opening = source.character(start)
    first = source.character(source.past_space(start + 1)) if opening == "[" else ""
    try:
        end = source.end_of_value(start)
    except MalformedError:
        if not opening or opening not in "[{":
            raise
        end = source.size
    return Entry(key, start, end, opening, first.replace("]", ""))


def _text(raw: bytes, offset: int) -> str:
    try:
        value: Any = json.loads(decode(raw))
    except ValueError as error:
        raise MalformedError(offset, "a key that is not JSON text") from error
    return str(value)
