"""How a template of the engine's writes tools and calls, learnt by letting it write some; used by workers.

The engine has one formatter for each family (Qwen, Llama 3, Mistral …), in Python. Another runtime needs the same text
from a template of its own. So the formatter is given tools with names that occur nowhere else, and what it wrote is
taken apart at these names and at the JSON of the tools: what is left is the text around them.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

NAMES = ("lfwrap_first_tool", "lfwrap_second_tool")
NAME = "\x00name\x00"
ARGUMENTS = "\x00arguments\x00"
DATE = "\x00date\x00"
ALL_NAMES = "\x00names\x00"
DATE_FORMAT = "%d %b %Y"
_BODIES = ("> Tool Name: ", "\n```\n")


class ToolsShape(NamedTuple):
    """The text around the tools; `NAME` and `DATE` stand in it where a tool's name and today's date belong.

    Attributes:
        before: text before the first tool.
        between: text between two tools.
        after: text after the last; `ALL_NAMES` stands in it for the names of all.
        wrapped: whether a tool is written as ``{"type": "function", "function": {…}}``, or as the function alone.
        indent: of the JSON; None on one line.
        listed: whether parameters are listed line by line, not written as JSON.
    """

    before: str
    between: str
    after: str
    wrapped: bool
    indent: int | None
    listed: bool = False


class CallsShape(NamedTuple):
    """The text of calls, `NAME` and `ARGUMENTS` standing in it.

    Attributes:
        one: a single call.
        first: the first of several, from the start of the text.
        other: each further one.
        last: what follows the last one of several. The three are None where the template can make one call only.
    """

    one: str
    first: str | None = None
    other: str | None = None
    last: str | None = None


def _tool(name: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"q": {"type": "string", "description": "w"}}, "required": ["q"]}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": parameters}}


def learn_tools(formatter: Any) -> ToolsShape | None:
    """The shape of a `ToolFormatter`; None where its text is not JSON between fixed text."""
    tools = [_tool(name) for name in NAMES]
    try:
        text = str(formatter.apply(content=json.dumps(tools))[0])
        single = str(formatter.apply(content=json.dumps(tools[:1]))[0])
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None
    text = text.replace(datetime.now().strftime(DATE_FORMAT), DATE)  # noqa: DTZ005 - as the engine takes it
    for wrapped in (True, False):
        for indent in (None, 4):
            dumps = [json.dumps(tool if wrapped else tool["function"], indent=indent) for tool in tools]
            if all(text.count(dump) == 1 for dump in dumps):
                return _json_shape(text, dumps, wrapped=wrapped, indent=indent)
    return _listed_shape(text, single)


def _json_shape(text: str, dumps: list[str], *, wrapped: bool, indent: int | None) -> ToolsShape:
    before, rest = text.split(dumps[0])
    between, after = rest.split(dumps[1])
    return ToolsShape(
        before.replace(NAMES[0], NAME), between.replace(NAMES[1], NAME), after, wrapped=wrapped, indent=indent
    )


def _listed_shape(text: str, single: str) -> ToolsShape | None:
    """The default family: each parameter on a line of its own, and the names of all tools at the end."""
    lines = [f"{_BODIES[0]}{name}\nTool Description: d\nTool Args:\n  - q (string, required): w\n\n" for name in NAMES]
    before, found, after = text.partition("".join(lines))
    names = ", ".join(NAMES)
    if not found or names not in after or before + lines[0] + after.replace(names, NAMES[0]) != single:
        return None
    return ToolsShape(before, "", after.replace(names, ALL_NAMES), wrapped=False, indent=None, listed=True)


def learn_calls(formatter: Any) -> CallsShape | None:
    """The shape of a `FunctionFormatter`'s calls; None where arguments are not written as one JSON object."""
    arguments = [{"lfwrap_key": f"value of {name}"} for name in NAMES]
    calls = [{"name": name, "arguments": value} for name, value in zip(NAMES, arguments, strict=True)]
    dumps = [json.dumps(value) for value in arguments]
    try:
        one = _cut(formatter, calls[:1], dumps[:1])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError):
        return None
    if one is None:
        return None
    try:
        several = _cut(formatter, calls, dumps)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError):
        several = None
    if several is None:
        return CallsShape(one)
    head, rest, tail = several.split(ARGUMENTS)
    return CallsShape(one, f"{head}{ARGUMENTS}", f"{rest}{ARGUMENTS}", tail)


def _cut(formatter: Any, calls: list[dict[str, Any]], dumps: list[str]) -> str | None:
    slots = formatter.slots
    try:
        formatter.slots = ["{{content}}"]
        text = str(formatter.apply(content=json.dumps(calls if len(calls) > 1 else calls[0]))[0])
    finally:
        formatter.slots = slots
    for dump, name in zip(dumps, NAMES, strict=False):
        if text.count(dump) != 1 or text.replace(dump, "").count(name) != 1:
            return None
    for dump in dumps:
        text = text.replace(dump, ARGUMENTS)
    for name in NAMES:
        text = text.replace(name, NAME)
    return text
