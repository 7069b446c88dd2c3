"""ToolACE (huggingface.co/datasets/Team-ACE/ToolACE): functions in the system text, calls in square brackets."""

from __future__ import annotations

import json
import re
from typing import Any

from second_reader.layouts.literals import bracket_calls
from second_reader.parts import result_of, role_of, text_of
from second_reader.said import Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import readable, spelled

_LIST = re.compile(r"\[\s*\{\s*\"")
_CALLS = re.compile(r"^\[\s*[^\[\]{}\"'=:]+\(.*\)\s*\]$", re.DOTALL)


def told(record: dict[str, Any]) -> Told:
    """A record whose system text holds a list of functions; what else stands in that text may be kept."""
    system = record["system"]
    start = _LIST.search(system)
    if start is None:
        raise Unclear("no list of functions")
    try:
        value, end = json.JSONDecoder().raw_decode(system, start.start())
    except ValueError as error:
        raise Unclear("functions that are no JSON") from error
    tools = tools_of(value)
    names = [tool.name for tool in tools]
    talk = Talk()
    for turn in record["conversations"]:
        role, text = role_of(turn.get("from")), text_of(turn.get("value"))
        if role == "user":
            talk.user(text)
        elif role == "result":
            _take_results(talk, text)
        elif role == "system":
            talk.system(text)
        elif _is_calls(text, names):
            talk.assistant(calls=[("", call) for call in bracket_calls(text, names)])
        else:
            talk.assistant(text)
    said = talk.told(tools)
    before, after = system[: start.start()], system[end:]
    return Told(said.turns, _kept(said.systems, before, after), tools)


def _kept(systems: tuple[str, ...], before: str, after: str) -> tuple[str, ...]:
    """The whole of what stands around the functions, a part of it, or nothing (which the report counts)."""
    rest = after.lstrip(". \n")
    return (
        *systems,
        rest,
        after,
        before + after,
        before.rstrip() + after,
        f"{before.strip()}\n\n{rest}",
        before.strip(),
    )


def _is_calls(text: str, names: list[str]) -> bool:
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return False
    return any(inner[1:].lstrip().startswith(f"{name}(") for name in names) or _CALLS.match(inner) is not None


def _take_results(talk: Talk, text: str) -> None:
    count = len(talk.turns[-1].calls) if talk.turns else 0
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, dict) and {"name", "results"} <= set(value) for value in values)
    ):
        for value in values:
            held = value["results"]
            talk.result((readable(held) if isinstance(held, str) else spelled(held),), name=value["name"])
    else:
        talk.result(result_of(text))
