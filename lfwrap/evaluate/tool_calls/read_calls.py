"""Tool calls in a model's text, read leniently: whatever format the model took to.

The template's own format is read by the engine (`lfwrap_worker.inference.engine_model`); this finds calls also where
the model wrote them in another one: JSON with a name and arguments, fenced or in tags, ``<function=…>`` with parameters
in tags, ``Action:`` lines, ``name {…}``, and ``[name(key=value)]``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts.bracket_calls import looks_like_calls, parse_bracket_calls
from lfwrap.data.schema.conversation import ToolCall

_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_ACTION = re.compile(r"Action:[ \t]*(?P<name>[^\n]+?)[ \t]*\n+[ \t]*Action Input:[ \t]*", re.IGNORECASE)
_SIGNS = re.compile(
    r"</?tool_calls?\b|\[TOOL_CALLS\]|<\|tool_call|<\|python_tag\|>|<｜tool|<function[=_]|function_call"
    r"|\bAction(?: Input)?:|[\"'](?:arguments|parameters)[\"']\s*:"
)
_FUNCTION = re.compile(
    r"<(?:function=|invoke name=)\"?(?P<name>[^\s<>\"]+)\"?>?(?P<inner>.*?)</(?:function|invoke)>", re.DOTALL
)
_PARAMETER = re.compile(r"<parameter(?:=| name=)\"?(?P<key>[^\s<>\"]+)\"?>(?P<value>.*?)</parameter>", re.DOTALL)
_ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
_DECODER = json.JSONDecoder(strict=False)
# A model that repeats an opening bracket forever must not cost forever.
_MAX_FAILURES = 50
_MAX_CHARS = 20_000
_CLOSING = {"{": "}", "[": "]"}


def read_calls(text: str, names: Collection[str] = ()) -> tuple[ToolCall, ...]:
    """The calls in a text, in order, whatever format they are written in; empty where it makes no call.

    Args:
        text: a model's answer; thoughts are passed over.
        names: the tools that were offered: ``name {…}`` and ``name(key=value)`` are calls only of one of them.

    >>> read_calls('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    (ToolCall(name='add', arguments={'a': 1}, id=''),)
    """
    text = _THOUGHT.sub("", text)
    for reader in (_tagged_calls, _json_calls, _action_calls):
        if found := tuple(reader(text)):
            return found
    return tuple(_named_calls(text, names)) or _bracket_calls(text, names)


def shows_call(text: str) -> bool:
    """Whether a text has a mark that only calls have, be it a whole call or not."""
    return _SIGNS.search(_THOUGHT.sub("", text)) is not None


def _tagged_calls(text: str) -> Iterator[ToolCall]:
    """``<function=name><parameter=key>value</parameter></function>``, and the same with ``<invoke name="…">``."""
    if "</parameter>" not in text and "</function>" not in text:
        return
    for found in _FUNCTION.finditer(text):
        values = {one["key"]: _plain_or_json(one["value"].strip("\n")) for one in _PARAMETER.finditer(found["inner"])}
        yield ToolCall(found["name"], values)


def _plain_or_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _json_calls(text: str) -> Iterator[ToolCall]:
    for value in _values(text):
        for one in value if isinstance(value, list) else [value]:
            call = _as_call(one)
            if call is not None:
                yield call


def _as_call(value: Any) -> ToolCall | None:
    if not isinstance(value, Mapping):
        return None
    inner = value["function"] if isinstance(value.get("function"), Mapping) else value
    name = inner.get("name")
    key = next((key for key in _ARGUMENT_KEYS if key in inner), None)
    if not isinstance(name, str) or key is None:
        return None
    arguments = inner[key]
    if isinstance(arguments, str):
        arguments = next(_values(arguments), None)
    return ToolCall(name, arguments) if isinstance(arguments, dict) else None


def _action_calls(text: str) -> Iterator[ToolCall]:
    for found in _ACTION.finditer(text):
        value, _ = _value_at(text, found.end())
        if isinstance(value, dict):
            yield ToolCall(found["name"].strip("`\"' "), value)


def _named_calls(text: str, names: Collection[str]) -> Iterator[ToolCall]:
    r"""``name {…}``, ``name\n{…}`` and ``name({…})``."""
    for found in _any_of(names, r"[`\"']?[ \t]*[(:]?\s*(?=\{)", text):
        value, _ = _value_at(text, found.end())
        if isinstance(value, dict):
            yield ToolCall(found["name"], value)


def _bracket_calls(text: str, names: Collection[str]) -> tuple[ToolCall, ...]:
    """``[name(key=value), …]``, or one ``name(key=value)`` without its bracket."""
    bracket = text[text.find("[") : text.rfind("]") + 1] if "[" in text else ""
    for piece in filter(None, (text.strip(), bracket)):
        inner = piece if piece.startswith("[") else f"[{piece.strip('`')}]"
        if looks_like_calls(inner, names):
            try:
                calls = parse_bracket_calls(inner, names)
            except Reject:
                continue
            if not names or any(call.name in names for call in calls):
                return calls
    return ()


def _any_of(names: Collection[str], after: str, text: str) -> Iterator[re.Match[str]]:
    if not names:
        return iter(())
    longest_first = sorted(names, key=len, reverse=True)
    return re.finditer(rf"(?<![\w.-])(?P<name>{'|'.join(map(re.escape, longest_first))}){after}", text)


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and lists of objects in a text, the outermost ones, from left to right."""
    position = failures = 0
    while failures < _MAX_FAILURES and (start := _next_opening(text, position)) is not None:
        value, end = _value_at(text, start)
        if value is None:
            failures += 1
            position = start + 1
        else:
            yield value
            position = end


def _next_opening(text: str, position: int) -> int | None:
    found = re.compile(r"[{\[]").search(text, position)
    return found.start() if found else None


def _value_at(text: str, start: int) -> tuple[Any, int]:
    """The object or list that begins here and where it ends, as JSON or as Python writes it; None for neither."""
    while start < len(text) and text[start].isspace():
        start += 1
    if text[start : start + 1] not in _CLOSING:
        return None, start
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end = _balanced_end(text, start)
    if end is None:
        return None, start
    try:
        value = ast.literal_eval(text[start:end])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None, start
    return (value, end) if isinstance(value, dict | list) else (None, start)


def _balanced_end(text: str, start: int) -> int | None:
    """Where the bracket that opens here is closed, outside of quotes."""
    depth, quote, position = 0, "", start
    while position < min(len(text), start + _MAX_CHARS):
        character = text[position]
        if quote:
            position += character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "{[(":
            depth += 1
        elif character in "}])":
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return None
