"""A result with an id that no call has belongs to another call: it is not given to one by its position."""

import json
from typing import Any

import pytest

from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes

TOOL = {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {}}}


def chat(calls: list[str], results: list[Any]) -> dict[str, Any]:
    made = [{"id": one, "type": "function", "function": {"name": "find", "arguments": "{}"}} for one in calls]
    told = [{"role": "tool", "content": "found", **({} if one is None else {"tool_call_id": one})} for one in results]
    messages = [{"role": "user", "content": "Find."}, {"role": "assistant", "content": None, "tool_calls": made}, *told]
    return {"messages": [*messages, {"role": "assistant", "content": "There."}], "tools": [TOOL]}


def anthropic(call: str, result: str) -> dict[str, Any]:
    used = {"type": "tool_use", "id": call, "name": "find", "input": {}}
    blocks = [{"type": "tool_result", "tool_use_id": result, "content": "found"}]
    turns = [("user", "Find."), ("assistant", [used]), ("user", blocks), ("assistant", "There.")]
    tools = [{"name": "find", "description": "d", "input_schema": TOOL["parameters"]}]
    return {"messages": [{"role": role, "content": content} for role, content in turns], "tools": tools}


def responses(call: str, result: str) -> dict[str, Any]:
    items = [
        {"type": "function_call", "call_id": call, "name": "find", "arguments": "{}"},
        {"type": "function_call_output", "call_id": result, "output": "found"},
        {"type": "message", "role": "assistant", "content": "There."},
    ]
    return {"input": "Find.", "output": items, "tools": [{"type": "function", **TOOL}]}


def convert(name: str, record: dict[str, Any]) -> list[str]:
    found = FORMATS[name].convert(json.loads(json.dumps(record)), ConvertOptions(), RowNotes())
    return [message.text for message in found.messages]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("openai", chat(["c1"], ["c9"])),
        ("openai", chat(["c1", "c2"], ["c8", "c9"])),
        ("openai", chat(["c1", "c2"], ["c9"])),
        ("openai", chat(["c1", "c1"], ["c8", "c9"])),
        ("anthropic", anthropic("t1", "t2")),
        ("openai-responses", responses("f1", "f2")),
    ],
)
def test_results_of_other_calls(name: str, record: dict[str, Any]) -> None:
    with pytest.raises(Reject) as raised:
        convert(name, record)
    assert raised.value.rule == "unmatched-result"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("openai", chat(["c1"], ["c1"])),
        ("openai", chat(["c1"], [None])),
        ("openai", chat(["c1"], [""])),
        ("openai", chat([""], ["c9"])),
        ("openai", chat(["c1", "c1"], ["c1", "c1"])),
        ("anthropic", anthropic("t1", "t1")),
        ("openai-responses", responses("f1", "f1")),
    ],
)
def test_results_of_these_calls(name: str, record: dict[str, Any]) -> None:
    texts = convert(name, record)
    assert "found" in texts
    assert texts[-1] == "There."
