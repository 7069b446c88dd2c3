"""The JSON values in a log's lines: behind any prefix, before any suffix, over several lines, several in one line."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.mcp_wire.wire_prefix import is_stamped, sender_of
from lfwrap.data.formats.parts.exact_json import ExactDecoder, exact_value, not_json

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
# Where a JSON object or a list of objects may begin; the brackets of [levels] and [servers] don't.
_START = re.compile(r'"[\[{]{1,2}\s*\\"|\{\s*(?:"|$)|\[\s*(?:\{\s*(?:"|$)|$)')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|"')
_GOES_ON = re.compile(r'\s*(?:$|["{}\[\],]|-?\d|true\b|false\b|null\b)')
_KEY_OR_END = re.compile(r'\s*(?:$|["}])')
_LIKE_A_MESSAGE = re.compile(r"""jsonrpc["']?\s*[:=]\s*["']2\.0|\bJSONRPC(?:Request|Response|Notification|Error)\(""")
_MESSAGE_START = re.compile(r'\[?\s*\{\s*"(?:jsonrpc|method|result|error)"\s*:')
_OBJECT = re.compile(r'\[?\s*\{\s*"')
_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_BARE = re.compile(r"\s*(?:data:)?\s*")
_MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a log.

    Attributes:
        line: 1-based line on which it begins.
        prefix: what stands before it on its line, or on a line of its own above.
        value: the JSON value, or None.
        text: the text of one that looks like a message but is not JSON, of others empty.
        problem: why a value can't be used, or why there is none; None of a line of a log without a message.
    """

    line: int
    prefix: str
    value: Any = None
    text: str = ""
    problem: Reject | None = None


def log_pieces(lines: Iterable[str]) -> Iterator[Piece]:
    """The JSON values of a log in their order, what looks like a message but isn't JSON, and lines with a time.

    >>> [(piece.prefix, piece.value) for piece in log_pieces(['[a] {"id": 1} { metadata: undefined }'])]
    [('[a] ', {'id': 1})]
    """
    yield from _Scanner(lines).pieces()


class _Scanner:
    """Goes through the lines; those read in vain go back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._back: list[tuple[int, str]] = []
        self._above = ""
        self._decoder = ExactDecoder()

    def pieces(self) -> Iterator[Piece]:
        while (found := self._next()) is not None:
            number, text = found
            if text.strip():
                yield from self._line(number, text)

    def _next(self) -> tuple[int, str] | None:
        if self._back:
            return self._back.pop()
        number, text = next(self._lines, (0, ""))
        if not number:
            return None
        text = text.rstrip("\r\n").lstrip("\ufeff")
        return number, _ANSI.sub("", text) if "\x1b" in text else text

    def _line(self, number: int, text: str) -> Iterator[Piece]:
        prefix, at, found_any = "", 0, False
        while start := _START.search(text, at):
            if not found_any:
                prefix = self._prefix(text[: start.start()])
            piece, text, at = self._value(number, text, start.start(), prefix)
            if piece is not None:
                found_any = True
                yield piece
                if piece.value is None:
                    break
        self._above = "" if found_any else text
        if found_any:
            return
        if _LIKE_A_MESSAGE.search(text):
            reason = Reject("not-json", "not valid JSON: a message as a program prints its own objects")
            yield Piece(number, self._prefix(text[: _object_start(text)]), text=text, problem=reason)
        elif is_stamped(text):
            yield Piece(number, text)

    def _prefix(self, text: str) -> str:
        """What stands before a value; of a value at the start of a line, the line above where that leads to it."""
        above = self._above.rstrip()
        if _BARE.fullmatch(text) and (above.endswith((":", "]")) or sender_of(above)):
            return above
        return text

    def _value(self, number: int, text: str, start: int, prefix: str) -> tuple[Piece | None, str, int]:
        """The value at a place, or None; the line on which it ends, and where."""
        if text[start] == '"' or text[start - 1 : start] == "'":
            return self._quoted(number, text, start, prefix)
        try:
            value, end, problem = self._decoder.decode_at(text, start)
        except ValueError as error:
            reason, broken = not_json(error), text[start:]
        else:
            return Piece(number, prefix, value, problem=problem), text, end
        if depth := _depth(broken, 0):
            taken = [(number, broken)]
            if self._take_lines(taken, depth):
                joined = "\n".join(line for _, line in taken)
                try:
                    value, end, problem = self._decoder.decode_at(joined)
                except ValueError as error:
                    reason = not_json(error)
                else:
                    last = taken[-1][1]
                    return Piece(number, prefix, value, problem=problem), last, end - len(joined) + len(last)
            broken = "\n".join(line for _, line in taken)
            if not _is_a_message(broken, prefix):
                self._back += reversed(taken[1:])
        if _is_a_message(broken, prefix):
            return Piece(number, prefix, text=broken, problem=reason), text, len(text)
        return None, text, start + 1

    def _quoted(self, number: int, text: str, start: int, prefix: str) -> tuple[Piece | None, str, int]:
        """A message that stands in quotes, as a program prints a text: with its own escapes over those of JSON."""
        double = text[start] == '"'
        literal = _LITERAL.match(text, start if double else start - 1)
        if literal is None:
            return self._broken_quote(number, text, start, prefix)
        is_bytes = text[max(start - 2, 0)] == "b" and not double
        printed = _printed(literal.group(), is_bytes=is_bytes)
        inner = Reject("not-json", "not valid JSON") if printed is None else exact_value(printed, self._decoder)
        plain = Reject("not-json", "") if double else exact_value(literal.group()[1:-1], self._decoder)
        if isinstance(inner, Reject) and inner.rule == "not-json" and not isinstance(plain, Reject):
            inner = plain  # quotes around JSON as it is
        elif inner != plain and not isinstance(inner, Reject) and not isinstance(plain, Reject) and not is_bytes:
            inner = Reject("not-json", "it stands in quotes, and its escapes can be read in two ways")
        if not isinstance(inner, Reject):
            return Piece(number, prefix, inner), text, literal.end()
        if not _LIKE_A_MESSAGE.search(literal.group().replace("\\", "")):
            return None, text, literal.end()
        return Piece(number, prefix, text=text[start:], problem=inner), text, len(text)

    def _broken_quote(self, number: int, text: str, start: int, prefix: str) -> tuple[Piece | None, str, int]:
        broken = text[start:].lstrip('"')
        if not _LIKE_A_MESSAGE.search(broken.replace("\\", "")):
            return None, text, start + 1
        reason = Reject("not-json", "not valid JSON: its quotes are not closed")
        return Piece(number, prefix, text=broken, problem=reason), text, len(text)

    def _take_lines(self, taken: list[tuple[int, str]], depth: int) -> bool:
        """Take the lines over which a value goes on; whether it ends."""
        while len(taken) < _MOST_LINES and (found := self._next()) is not None:
            _, line = found
            goes_on = _KEY_OR_END if taken[-1][1].rstrip().endswith("{") else _GOES_ON
            if is_stamped(line) or not goes_on.match(line):
                self._back.append(found)
                return False
            taken.append(found)
            now = _depth(line, depth)
            if now is None:
                return False
            if not now:
                return True
            depth = now
        return False


def _printed(literal: str, *, is_bytes: bool) -> str | None:
    """The text that a literal stands for, in JSON's way of writing or in Python's; None where it is neither."""
    try:
        if literal.startswith('"'):
            value = json.loads(literal)
        else:
            value = ast.literal_eval(f"b{literal}" if is_bytes else literal)
        return value.decode() if isinstance(value, bytes) else str(value)
    except (ValueError, SyntaxError):
        return None


def _depth(text: str, depth: int) -> int | None:
    """How many brackets are open after a text; 0 once all are closed, None where a text in quotes is cut off."""
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark == '"':
            return None
        depth += (mark in "{[") - (mark in "}]")
        if depth <= 0:
            return 0
    return depth


def _is_a_message(broken: str, prefix: str) -> bool:
    """Whether a text that is not JSON was meant as a message, so that losing it has to be said."""
    if _MESSAGE_START.match(broken):
        return True
    if _BARE.fullmatch(prefix):
        return _LIKE_A_MESSAGE.search(broken) is not None
    return _OBJECT.match(broken) is not None and sender_of(prefix) != ""


def _object_start(text: str) -> int:
    return text.find("{") if "{" in text else 0
