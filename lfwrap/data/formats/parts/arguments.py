"""Values that come as text: call arguments, JSON within JSON, Python representations."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from lfwrap.data.formats.base import Reject, RowNotes

TOO_LONG_A_NUMBER = "a whole number of more than 4,300 digits"
"""What the decoder refuses with a `ValueError` of its own: Python's limit, as the time grows with the square."""
_BOM = "\ufeff"
_MAX_DEPTH = 2  # arguments encoded twice are seen in the wild, never more


class SpelledFloat(float):
    """A number that its source spells otherwise than Python does: ``12.50``, ``1E5``."""

    __slots__ = ()


def spelled_float(text: str) -> float:
    """A JSON number with a point or an exponent, for `json.loads`' ``parse_float``.

    >>> type(spelled_float("12.5")).__name__, type(spelled_float("12.50")).__name__
    ('float', 'SpelledFloat')
    """
    value = float(text)
    return value if repr(value) == text else SpelledFloat(value)


def own_floats(value: Any, notes: RowNotes) -> Any:
    """A value with Python's own numbers only; each that the engine will spell anew is counted.

    >>> notes = RowNotes()
    >>> own_floats({"price": SpelledFloat(12.5)}, notes), dict(notes.repairs)
    ({'price': 12.5}, {'number-respelled': 1})
    """
    if isinstance(value, SpelledFloat):
        notes.repair("number-respelled")
        return float(value)
    if isinstance(value, dict):
        return {key: own_floats(held, notes) for key, held in value.items()}
    if isinstance(value, list):
        return [own_floats(held, notes) for held in value]
    return value


def json_text(value: Any, notes: RowNotes) -> str:
    """A value of the source as JSON text; each number that is spelled anew by that is counted.

    >>> json_text({"city": "北京", "price": SpelledFloat(12.5)}, RowNotes())
    '{"city": "北京", "price": 12.5}'
    """
    return json.dumps(own_floats(value, notes), ensure_ascii=False)


def parse_arguments(value: Any, notes: RowNotes, *, python: bool = False) -> dict[str, Any]:
    """Call arguments as an object.

    Args:
        value: an object; text that holds one, perhaps encoded twice; or nothing.
        notes: counts what was repaired.
        python: whether text may be a Python dict (Toucan's SFT set only).

    Raises:
        Reject: ``arguments`` where no object comes out, ``duplicate-key`` where a key appears twice.

    >>> parse_arguments('{"city": "Rome"}', RowNotes())
    {'city': 'Rome'}
    """
    if value is None or value == "":
        notes.repair("arguments-absent")
        return {}
    depth = 0
    while isinstance(value, str) and depth < _MAX_DEPTH:
        value = _parse_text(value, python=python)
        depth += 1
    if depth:
        notes.repair("arguments-text-to-object" if depth == 1 else "arguments-encoded-twice")
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Reject("arguments", f"the arguments of a call are {_kind(value)}, expected an object")
    try:
        arguments: dict[str, Any] = own_floats(dict(value), notes)
    except RecursionError as error:
        raise Reject("arguments", "the arguments of a call are nested too deeply") from error
    return arguments


def _parse_text(text: str, *, python: bool) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        if python:
            return parse_python(text, "arguments")
        raise Reject("arguments", f"the arguments of a call are text that is not JSON: {error}") from error


def parse_json(text: str) -> Any:
    """JSON with exact integers, without ``NaN`` and ``Infinity``, and without keys that appear twice.

    Raises:
        ValueError: the text is not JSON.
        Reject: ``duplicate-key``.

    >>> parse_json('{"id": 12345678901234567890}')
    {'id': 12345678901234567890}
    """
    try:
        return _decoder().decode(text) if text[:1] != _BOM else json.loads(text)  # which says what is wrong
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_python(text: str, what: str) -> Any:
    """A Python literal (``{'name': 'f'}``); nothing in it is run.

    Raises:
        Reject: ``arguments``, the text is not a literal, or holds a set or bytes, which JSON has not.

    >>> parse_python("{'celsius': True}", "arguments")
    {'celsius': True}
    """
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise Reject("arguments", f"{what}: neither JSON nor a Python literal") from error
    try:
        json.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Reject("arguments", f"{what}: a Python literal that JSON can't hold: {error}") from error
    return value


def parse_json_field(text: Any, name: str, rule: str = "structure") -> Any:
    """A column that holds JSON as text; other values pass.

    Raises:
        Reject: the text is not JSON.

    >>> parse_json_field("[1, 2]", "tools"), parse_json_field([1, 2], "tools")
    ([1, 2], [1, 2])
    """
    if not isinstance(text, str):
        return text
    try:
        return parse_json(text)
    except ValueError as error:
        raise Reject(rule, f"{name} is text that is not JSON: {error}") from error


def dump_key(value: Any, *, sort_keys: bool = False) -> str:
    """JSON as a key of a cache, or to look through: quick, without white space, in the order of the value.

    >>> dump_key({"b": 1, "a": [2]}, sort_keys=True)
    '{"a":[2],"b":1}'
    """
    try:
        return orjson.dumps(value, default=_as_float, option=orjson.OPT_SORT_KEYS if sort_keys else None).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        return json.dumps(value, ensure_ascii=False, sort_keys=sort_keys)


def _as_float(value: Any) -> float:
    if isinstance(value, SpelledFloat):
        return float(value)
    raise TypeError


def json_or_none(text: str) -> Any:
    """A text's JSON value, or None where it isn't JSON.

    >>> json_or_none("[1]"), json_or_none("not JSON")
    ([1], None)
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def exact_or_none(text: str) -> Any:
    """A text's JSON value, or None where it isn't JSON, or could not be written again without losing some of it.

    >>> exact_or_none('{"a": 1}'), exact_or_none('{"a": 1, "a": 2}')
    ({'a': 1}, None)
    """
    try:
        return parse_json(text)
    except (ValueError, Reject):
        return None


@functools.cache
def _decoder() -> json.JSONDecoder:
    """One for all texts: to make it takes as long as to read a short one."""
    return json.JSONDecoder(object_pairs_hook=unique_object, parse_constant=refuse_constant, parse_float=spelled_float)


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of key-value pairs; raises Reject (``duplicate-key``) when a key comes twice.

    >>> unique_object([("a", 1), ("b", 2)])
    {'a': 1, 'b': 2}
    """
    unique = dict(pairs)
    if len(unique) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Reject("duplicate-key", f"the key {twice!r} appears twice in one object")
    return unique


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError for ``NaN`` and ``Infinity``, which Python's JSON has and JSON has not."""
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {str: "text", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number")
