"""Blocks of a JSON array: by a fast parser where all items are valid, else one by one past the broken ones."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts.arguments import TOO_LONG_A_NUMBER, spelled_float, unique_object
from lfwrap.data.readers.blocks import NotUtf8Error, decode
from lfwrap.data.readers.chunk_plan import Chunk, opening_pattern


class _Item(NamedTuple):
    offset: int
    value: Any = None
    reject: Reject | None = None


_SEPARATOR = re.compile(r"\s*,\s*")
_SPACE = re.compile(r"\s*")
_FIRST_KEY = re.compile(r'[\[{](?:\s*[\[{])*\s*"(?:[^"\\]|\\.)*+"')
_AFTER_THE_LIST = re.compile(r"\s*\}?\s*")  # what a wrapper whose outline could not be made out may end with
_NEAR_THE_END = 16
_COMMENTS = ("//", "/*", "#")


class ArrayBlock:
    """Items of a JSON array; ``items`` holds them as a fast parser gave them, or is empty when it could not."""

    def __init__(self, content: bytes, chunk: Chunk) -> None:
        self.content = content
        items = self.items = _fast_items(content, chunk)
        self.blanks: list[int] = []
        self.trailing_comma = False
        self.more_follows = False
        self._final = chunk.final
        self._exact: list[_Item] | None = None
        self.consumed_bytes = len(content)
        if not items:
            self._read_exactly()
        self.size = len(items) or len(self._exact or ())
        self.line_count = content.count(b"\n", 0, self.consumed_bytes)

    def record(self, position: int) -> Any:
        """The item, read exactly. Raises Reject."""
        item = self._read_exactly()[position]
        if item.reject is not None:
            raise item.reject
        return item.value

    def text_at(self, position: int) -> str:
        """The text from an item on."""
        items = self._read_exactly()
        following = items[position + 1].offset if position + 1 < len(items) else len(self._text)
        return self._text[items[position].offset : following]

    def lines_of(self, positions: Iterable[int]) -> dict[int, int | None]:
        """Counts line breaks before each item."""
        wanted = list(positions)
        if not wanted:
            return {}
        items, text = self._read_exactly(), self._text
        return {position: text.count("\n", 0, items[position].offset) for position in wanted}

    def _read_exactly(self) -> list[_Item]:
        if self._exact is None:
            self._text = decode(self.content)
            walk = _ArrayWalk(self._text, final=self._final)
            self._exact = walk.items
            self.trailing_comma = walk.trailing_comma
            self.more_follows = walk.more_follows
            if not self.items:
                self.consumed_bytes = len(self._text[: walk.consumed].encode())
        return self._exact


def _fast_items(content: bytes, chunk: Chunk) -> list[Any]:
    """The items of an array by a fast parser; none where it fails, because of a broken row or a wrong cut."""
    body = content if chunk.final else content.rstrip().removesuffix(b",") + b"]"
    try:
        items = orjson.loads(b"[" + body)
    except ValueError:
        try:
            content.decode()
        except UnicodeDecodeError as error:
            raise NotUtf8Error from error
        return []
    return list(items)


@dataclass(slots=True)
class _ArrayWalk:
    """Reads array items one by one, past broken ones, and stops before one that is cut off."""

    text: str
    final: bool
    limit: int = sys.maxsize
    items: list[_Item] = field(default_factory=list)
    consumed: int = 0
    trailing_comma: bool = False
    more_follows: bool = False

    def __post_init__(self) -> None:
        decoder = json.JSONDecoder(object_pairs_hook=marked_object, parse_float=spelled_float)
        offset = self._skip(0)
        while offset < len(self.text) and len(self.items) < self.limit:
            if self.text[offset] == "]":
                self.consumed = offset + 1
                self.more_follows = not self.final or _AFTER_THE_LIST.fullmatch(self.text, offset + 1) is None
                if not self.more_follows:
                    self.consumed = len(self.text)
                return
            try:
                value, end = decoder.raw_decode(self.text, offset)
            except json.JSONDecodeError as error:
                if not self.final and self._cut_off(error):
                    self.consumed = offset
                    return
                end = self._next_item(offset)
                line = self.text.count("\n", offset, error.pos)
                problem = "a comment, which JSON has not" if self._is_comment(error.pos) else error.msg
                reason = f"not valid JSON: {problem} ({line} lines on, column {error.colno})"
                self.items.append(_Item(offset, reject=Reject("not-json", reason)))
            except (RecursionError, ValueError) as error:
                end = self._next_item(offset)
                problem = TOO_LONG_A_NUMBER if isinstance(error, ValueError) else "nested too deeply"
                self.items.append(_Item(offset, reject=Reject("not-json", f"not usable JSON: {problem}")))
            else:
                self.items.append(_Item(offset, value, duplicate_key(value)))
            offset = self._skip(end)
        self.consumed = len(self.text)

    def _skip(self, offset: int) -> int:
        """Past white space and the comma between items."""
        match = _SEPARATOR.match(self.text, offset)
        if match is None:
            return _end_of_space(self.text, offset)
        self.trailing_comma = self.final and self.text[match.end() : match.end() + 1] == "]"
        return match.end()

    def _is_comment(self, offset: int) -> bool:
        return self.text.startswith(_COMMENTS, _end_of_space(self.text, offset))

    def _cut_off(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self.text.rstrip()) - _NEAR_THE_END or error.msg.startswith("Unterminated string")

    def _next_item(self, offset: int) -> int:
        """Where a broken item ends, as far as can be told: before the next object that begins like it."""
        own = _FIRST_KEY.match(self.text, offset)
        following = opening_pattern(own.group().encode()).decode() if own else r"\{"
        match = re.compile(rf"\s*,\s*{following}").search(self.text, offset + 1)
        return match.start() if match else len(self.text)


def _end_of_space(text: str, offset: int) -> int:
    space = _SPACE.match(text, offset)
    return space.end() if space else offset


def array_items(text: str, limit: int) -> list[Any]:
    """The first whole items of the text of a JSON array, after its bracket; broken ones are left out.

    >>> array_items('{"a": 1}, {"a": 2}, {"a": 3}]', 2)
    [{'a': 1}, {'a': 2}]
    """
    walk = _ArrayWalk(text, final="]" in text[-8:], limit=limit)
    return [item.value for item in walk.items if item.reject is None]


class _Twice(NamedTuple):
    """Stands in for an object that has a key twice."""

    key: str

    @classmethod
    def within(cls, value: Any) -> _Twice | None:
        """The first such object inside a value."""
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, list):
            return None
        return next((found for part in value if (found := cls.within(part))), None)


def duplicate_key(value: Any) -> Reject | None:
    """Why a value that was read with `marked_object` can't be used: an object in it has a key twice.

    >>> str(duplicate_key([marked_object([("a", 1), ("a", 2)])]))
    "the key 'a' appears twice in one object"
    """
    twice = _Twice.within(value)
    return Reject("duplicate-key", f"the key {twice.key!r} appears twice in one object") if twice else None


def marked_object(pairs: list[tuple[str, Any]]) -> Any:
    """An object of key-value pairs, or a mark in its place where a key appears twice.

    >>> marked_object([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    try:
        return unique_object(pairs)
    except Reject:
        keys = [key for key, _ in pairs]
        return _Twice(next(key for key in keys if keys.count(key) > 1))
