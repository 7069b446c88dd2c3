"""JSON of whole files, read without guessing: keys that come twice and numbers that JSON has not are found."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TextIO

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts.arguments import TOO_LONG_A_NUMBER, spelled_float, unique_object

_READ_CHARACTERS = 1 << 20
_NEAR_THE_END = 16
_SPACE = re.compile(r"\s*")
_SEPARATOR = re.compile(r"\s*(,\s*)?")
_OPENING = re.compile(r'[\[{]\s*[\[{]?\s*"(?:[^"\\]|\\.)*"')
_SHOWN_DIGITS = 24


class Decoded(NamedTuple):
    """A value in a text.

    Attributes:
        value: the value; of a key that comes twice the last one.
        end: where the text goes on behind it.
        problem: why it can't be used all the same, or None.
    """

    value: Any
    end: int
    problem: Reject | None


class ExactDecoder:
    """Decodes JSON values that stand anywhere in a text."""

    def __init__(self) -> None:
        self._problem: Reject | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._float
        )

    def decode_at(self, text: str, offset: int = 0) -> Decoded:
        """The value that begins at an offset.

        Raises:
            ValueError: there is none, or it is nested too deeply.

        >>> ExactDecoder().decode_at('x {"a": 1, "a": 2} y', 2).end
        18
        """
        self._problem = None
        try:
            value, end = self._decoder.raw_decode(text, offset)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        return Decoded(value, end, self._problem)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        try:
            return unique_object(pairs)
        except Reject as reject:
            self._problem = self._problem or reject
            return dict(pairs)

    def _constant(self, name: str) -> float:
        self._problem = self._problem or Reject("not-json", f"{name} is not JSON")
        return math.nan

    def _float(self, text: str) -> float:
        value = spelled_float(text)
        if math.isinf(value):
            self._problem = self._problem or Reject("not-json", f"no number is as large as {text[:_SHOWN_DIGITS]}")
        return value


def exact_value(text: str, decoder: ExactDecoder | None = None) -> Any:
    """A text's JSON value, or the `Reject` that says why it can't be used.

    >>> exact_value('{"a": 1}'), exact_value('{"a": 1e999}')
    ({'a': 1}, Reject('not-json', 'no number is as large as 1e999'))
    """
    try:
        found = (decoder or ExactDecoder()).decode_at(text, _past(_SPACE, text, 0))
    except ValueError as error:
        return not_json(error)
    if _past(_SPACE, text, found.end) < len(text):
        return Reject("not-json", f"not valid JSON: Extra data at column {found.end + 1}")
    return found.value if found.problem is None else found.problem


def not_json(error: ValueError) -> Reject:
    """The reject for a text that a decoder refused.

    >>> not_json(ValueError("nested too deeply"))
    Reject('not-json', 'not usable JSON: nested too deeply')
    """
    if isinstance(error, json.JSONDecodeError):
        return Reject("not-json", f"not valid JSON: {error.msg} at column {error.colno}")
    return Reject("not-json", f"not usable JSON: {TOO_LONG_A_NUMBER if 'digits' in str(error) else error}")


def stream_lines(lines: Iterable[str]) -> Iterator[tuple[int, Any]]:
    r"""The values of lines that are not blank, as (1-based line, value or `Reject`).

    >>> list(stream_lines(['{"a": 1}\n', "\n", "[2]"]))
    [(1, {'a': 1}), (3, [2])]
    """
    decoder = ExactDecoder()
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, exact_value(line, decoder)


def stream_items(source: TextIO) -> Iterator[tuple[int, Any]]:
    r"""The items of a JSON array in a file, as (1-based line, value or `Reject`); a piece of the file at a time.

    Behind a broken item, the reading goes on at the next one that begins as the first did.

    >>> import io
    >>> list(stream_items(io.StringIO('[{"a": 1}, {"a": 2}]')))
    [(1, {'a': 1}), (1, {'a': 2})]
    """
    yield from _ArrayStream(source).items()


class _ArrayStream:
    """What is held of a file, and where in it the reading is."""

    def __init__(self, source: TextIO) -> None:
        self._source = source
        self._text = ""
        self._at = 0
        self._ended = False
        self._line = 1
        self._opening: re.Pattern[str] | None = None
        self._decoder = ExactDecoder()

    def items(self) -> Iterator[tuple[int, Any]]:
        while "[" not in self._text and self._more():
            pass
        self._go_to(self._text.index("[") + 1)
        while self._skip_to_item():
            line = self._line
            yield line, self._item()

    def _more(self) -> bool:
        """Read on, each time as much again as is held already: a long item is then tried a few times only."""
        self._text = self._text[self._at :]
        self._at = 0
        piece = self._source.read(max(_READ_CHARACTERS, len(self._text)))
        self._text += piece
        self._ended = not piece
        return bool(piece)

    def _go_to(self, offset: int) -> None:
        self._line += self._text.count("\n", self._at, offset)
        self._at = offset

    def _skip_to_item(self) -> bool:
        while True:
            self._go_to(_past(_SEPARATOR, self._text, self._at))
            if self._at < len(self._text):
                return self._text[self._at] != "]"
            if not self._more():
                return False

    def _item(self) -> Any:
        while True:
            try:
                found = self._decoder.decode_at(self._text, self._at)
            except ValueError as error:
                if self._may_be_cut(error) and self._more():
                    continue
                self._go_to(self._next_item())
                return not_json(error)
            self._learn_opening()
            self._go_to(found.end)
            return found.value if found.problem is None else found.problem

    def _learn_opening(self) -> None:
        if self._opening is None and (opening := _OPENING.match(self._text, self._at)):
            words = map(re.escape, opening.group().split())
            self._opening = re.compile(r",\s*" + r"\s*".join(words))

    def _may_be_cut(self, error: ValueError) -> bool:
        if not isinstance(error, json.JSONDecodeError) or self._ended:
            return False
        return error.pos >= len(self._text) - _NEAR_THE_END or error.msg.startswith("Unterminated string")

    def _next_item(self) -> int:
        self._learn_opening()
        while True:
            found = self._opening.search(self._text, self._at + 1) if self._opening else None
            if found or not self._more():
                return found.start() if found else len(self._text)


def _past(pattern: re.Pattern[str], text: str, offset: int) -> int:
    found = pattern.match(text, offset)
    return found.end() if found else offset
