"""Tool calls as the formats write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_arguments, parse_json, parse_python
from lfwrap.data.schema.conversation import ToolCall

_OPENING, _CLOSING = "<tool_call>", "</tool_call>"
_ARGUMENT_KEYS = ("arguments", "parameters", "input", "args")


def parse_call(value: Any, notes: RowNotes, path: str = "call", *, python: bool = False) -> ToolCall:
    """One call: ``{name, arguments}``, or OpenAI's ``{id, function: {name, arguments}}``.

    Raises:
        Reject: ``call`` without a name; ``arguments`` where they are not an object.

    >>> parse_call({"id": 1, "function": {"name": "add", "arguments": '{"a": 2}'}}, RowNotes())
    ToolCall(name='add', arguments={'a': 2}, id='1')
    """
    if not isinstance(value, Mapping):
        raise Reject("call", "a call is not an object with a name and arguments")
    outer = inner = notes.fields(value, path)
    if isinstance(outer.content.get("function"), Mapping):
        inner = notes.fields(outer["function"], outer.place_of("function"))
    outer.get("type")  # says "function", or what a block is: read before
    name = inner.get("name")
    if not isinstance(name, str) or not name:
        raise Reject("call", "a call names no tool")
    key = next((key for key in _ARGUMENT_KEYS if key in inner), "arguments")
    call_id = outer["id"] if "id" in outer else outer.get("call_id", "")
    return ToolCall(name, parse_arguments(inner.get(key), notes, python=python), id=as_id(call_id))


def parse_calls(value: Any, notes: RowNotes, path: str = "call", *, python: bool = False) -> tuple[ToolCall, ...]:
    """One call or a list of calls.

    >>> [call.name for call in parse_calls([{"name": "add"}, {"name": "stop"}], RowNotes())]
    ['add', 'stop']
    """
    if isinstance(value, list):
        return tuple(parse_call(call, notes, f"{path}[]", python=python) for call in value)
    return (parse_call(value, notes, path, python=python),)


def parse_call_text(
    text: str, notes: RowNotes, path: str = "call", *, python: bool = False
) -> tuple[str, tuple[ToolCall, ...]]:
    """A call turn's text: JSON of a call or a list of calls, or ``<tool_call>`` blocks beside text: (text, calls).

    Raises:
        Reject: ``call``, there is no call in it.

    >>> parse_call_text('Wait.<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>', RowNotes())
    ('Wait.', (ToolCall(name='add', arguments={'a': 2}, id=''),))
    """
    outside, blocks = _split_blocks(text)
    if not blocks:
        return "", _load_calls(text, notes, path, python=python)
    calls = tuple(call for block in blocks for call in _load_calls(block, notes, path, python=python))
    return outside.strip(), calls


def _split_blocks(text: str) -> tuple[str, list[str]]:
    """What stands outside of call blocks and in them. A search for pairs would begin anew at each opening mark."""
    outside, blocks, position = list[str](), list[str](), 0
    while (start := text.find(_OPENING, position)) >= 0:
        inner = start + len(_OPENING)
        end = text.find(_CLOSING, inner)
        if end < 0:
            break
        outside.append(text[position:start])
        blocks.append(text[inner:end])
        position = end + len(_CLOSING)
    return "".join([*outside, text[position:]]), blocks


def has_call_block(text: str) -> bool:
    """Whether a text holds a ``<tool_call>`` block.

    >>> has_call_block("<tool_call>{}</tool_call>"), has_call_block("no call")
    (True, False)
    """
    return _CLOSING in text.partition(_OPENING)[2]


def _load_calls(text: str, notes: RowNotes, path: str, *, python: bool) -> tuple[ToolCall, ...]:
    try:
        value = parse_json(text)
    except ValueError as error:
        if not python:
            raise Reject("call", f"a call is not JSON: {error}") from error
        value = parse_python(text, "a call")
        notes.repair("python-to-json")
    return parse_calls(value, notes, path, python=python)


def as_id(value: Any) -> str:
    """A call's id as text: logs have numbers, too.

    >>> as_id(7), as_id("c1"), as_id(None)
    ('7', 'c1', '')
    """
    return "" if value is None else str(value)
