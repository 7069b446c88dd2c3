"""Values that come as text: call arguments, JSON within JSON, Python representations."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import orjson

from lfwrap.data.formats.base import Reject, RowNotes

_MAX_DEPTH = 2  # arguments encoded twice are seen in the wild, never more


def parse_arguments(value: Any, notes: RowNotes, *, python: bool = False) -> dict[str, Any]:
    """Call arguments as an object.

    Args:
        value: an object; text that holds one, perhaps encoded twice; or nothing.
        notes: counts what was repaired.
        python: whether text may be a Python dict (Toucan's SFT set only).

    Raises:
        Reject: ``arguments`` where no object comes out, ``duplicate-key`` where a key stands twice.
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
    return dict(value)


def _parse_text(text: str, *, python: bool) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        if python:
            return parse_python(text, "arguments")
        raise Reject("arguments", f"the arguments of a call are text that is no JSON: {error}") from error


def parse_json(text: str) -> Any:
    """JSON with exact integers, without ``NaN`` and ``Infinity``, and without keys that stand twice.

    Raises:
        ValueError: the text is no JSON.
        Reject: ``duplicate-key``.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parse_python(text: str, what: str) -> Any:
    """A Python literal (``{'name': 'f'}``); nothing in it is run.

    Raises:
        Reject: ``arguments``, the text is no literal.
    """
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise Reject("arguments", f"{what}: neither JSON nor a Python literal") from error


def parse_json_field(text: Any, name: str, rule: str = "structure") -> Any:
    """A column that holds JSON as text; other values pass.

    Raises:
        Reject: the text is no JSON.
    """
    if not isinstance(text, str):
        return text
    try:
        return parse_json(text)
    except ValueError as error:
        raise Reject(rule, f"{name} is text that is no JSON: {error}") from error


def dump_key(value: Any) -> str:
    """JSON as a key of a cache, or to look through: quick, without white space, in the order of the value."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        return json.dumps(value, ensure_ascii=False)


def load_line(text: str) -> Any:
    """A line's JSON value; the line itself where it is none: as text it is rejected, with its place."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Reject("duplicate-key", f"the key {twice!r} stands twice in one object")
    return unique


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _kind(value: Any) -> str:
    names = {str: "text", list: "a list", bool: "true or false"}
    return names.get(type(value), "a number")
