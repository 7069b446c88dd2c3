"""Calls written as ``[Market Trends API(trend_type="INDEXES"), other.tool(n=1, tags=["a"])]``, names with spaces."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.schema.conversation import ToolCall

_OPENING, _CLOSING = "([{", ")]}"
_NOT_IN_NAMES = frozenset("[]{}\"'=:")
_JSON_WORDS = {"true": True, "false": False, "null": None}
_ARGUMENT = re.compile(r"\s*([^\s=()\[\]{}\"']+)\s*=(.*)$", re.DOTALL)


def looks_like_calls(text: str, names: Collection[str] = ()) -> bool:
    """Whether a text is one bracket around something like calls, or around a call of one of the tools.

    >>> looks_like_calls('[weather.get(city="Rome")]'), looks_like_calls("[see the weather]")
    (True, False)
    """
    inner = text.strip()
    if inner[:1] != "[" or inner[-1:] != "]":
        return False
    begun = inner[1:].lstrip()
    if any(begun.startswith(f"{name}(") for name in names):
        return True
    body = inner[1:-1].rstrip()
    opening = body.find("(", 1)  # after a name of at least a character
    return opening > 0 and body.rfind(")") == len(body) - 1 > opening and _NOT_IN_NAMES.isdisjoint(body[:opening])


def parse_bracket_calls(text: str, names: Collection[str] = ()) -> tuple[ToolCall, ...]:
    """The calls in a bracket.

    Args:
        text: the bracket and what is in it.
        names: the declared tools: a name with parentheses is only recognised among them.

    Raises:
        Reject: ``call``, the brackets, quotes or values don't add up.

    >>> parse_bracket_calls('[Market Trends API(kind="INDEXES", limit=3)]')
    (ToolCall(name='Market Trends API', arguments={'kind': 'INDEXES', 'limit': 3}, id=''),)
    """
    inner = text.strip()
    if inner[:1] != "[" or inner[-1:] != "]":
        raise Reject("call", "the calls are not in square brackets")
    pieces = split_outside(inner[1:-1], ",")
    return tuple(_parse_one(piece, names) for piece in pieces if piece.strip())


def split_outside(text: str, separator: str) -> list[str]:
    """A text split at separators outside of brackets and quotes.

    Raises:
        Reject: ``call``, a bracket or a quote stays open.

    >>> split_outside('a=[1, 2], b="x, y"', ",")
    ['a=[1, 2]', ' b="x, y"']
    """
    pieces, start, depth, quote, skip = [], 0, 0, "", False
    for position, character in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'" and _opens_quote(text, position):
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character == separator and depth == 0:
            pieces.append(text[start:position])
            start = position + 1
    if depth or quote:
        raise Reject("call", "a bracket or a quote of a call stays open")
    return [*pieces, text[start:]]


def _opens_quote(text: str, position: int) -> bool:
    """An apostrophe within a name (``User's Feed``) opens nothing; a quote follows ``=``, a bracket, comma or colon."""
    before = position - 1
    while before >= 0 and text[before].isspace():
        before -= 1
    return before < 0 or text[before] in "=([{,:"


def _parse_one(piece: str, names: Collection[str]) -> ToolCall:
    piece = piece.strip()
    known = max((name for name in names if piece.startswith(f"{name}(")), key=len, default="")
    head = known or piece.partition("(")[0]
    rest = piece[len(head) :].strip()
    name = head.strip()
    if not name or rest[:1] != "(" or rest[-1:] != ")":
        raise Reject("call", f"{piece[:60]!r} is not a call NAME(KEY=VALUE, …)")
    arguments: dict[str, Any] = {}
    for part in split_outside(rest[1:-1], ","):
        if part.strip():
            key, value = _parse_argument(part)
            if key in arguments:
                raise Reject("duplicate-key", f"the argument {key!r} appears twice in one call")
            arguments[key] = value
    return ToolCall(name, arguments)


def _parse_argument(part: str) -> tuple[str, Any]:
    found = _ARGUMENT.match(part)
    if found is None:
        raise Reject("call", f"{part.strip()[:60]!r} is not an argument KEY=VALUE")
    return found.group(1), _parse_value(found.group(2).strip())


def _parse_value(text: str) -> Any:
    """A Python literal in which JSON's ``true``, ``false`` and ``null`` are allowed, too."""
    try:
        return _value_of(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Reject("call", f"the argument value {text[:60]!r} can't be read") from error


def _value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _JSON_WORDS:
        return _JSON_WORDS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_value_of(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) if key is not None else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("a key is not text")
        return {str(key): _value_of(value) for key, value in zip(keys, node.values, strict=True)}
    value = ast.literal_eval(node)
    if value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError("no JSON value")
    return value
