"""JSON as it is: exact numbers, the order of keys, and what Python's parser would pass over in silence."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from second_reader.said import Unclear

_ESCAPES = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


class Twice(dict):  # type: ignore[type-arg]
    """An object in which a key appears twice."""


def parsed(text: str) -> Any:
    """A JSON value; an object with a key twice is marked, non-finite numbers are there as such."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("too deep") from error


def exact(text: str) -> Any:
    """A JSON value without such flaws. Raises Unclear."""
    try:
        value = parsed(text)
    except ValueError as error:
        raise Unclear(f"not JSON: {error}") from error
    if wrong := flaw(value):
        raise Unclear(wrong)
    return value


def flaw(value: Any) -> str:
    """What is wrong inside of a value, or nothing."""
    if isinstance(value, Twice):
        return "a key twice"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that JSON has not"
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((found for each in held if (found := flaw(each))), "")


def spelled(value: Any) -> str:
    """A value as text in which types and the order of keys show."""
    return json.dumps(value, ensure_ascii=False)


def readable(text: str) -> str:
    r"""JSON text without ``\u`` escapes of printable characters; other text stays as it is."""
    if "\\u" not in text:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _ESCAPES.sub(lambda found: found[1] + "".join(map(_shown, json.loads(f'"{found[2]}"'))), text)


def _shown(character: str) -> str:
    odd = ord(character) < 32 or character in '"\\' or 0xD800 <= ord(character) <= 0xDFFF
    return f"\\u{ord(character):04x}" if odd else character


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    return held if len(held) == len(pairs) else Twice(held)
