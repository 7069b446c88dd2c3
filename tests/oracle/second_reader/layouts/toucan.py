"""Toucan (huggingface.co/datasets/Agent-Ark/Toucan-1.5M): text columns of JSON, the SFT set with Python dicts."""

from __future__ import annotations

from typing import Any

from second_reader.layouts import openai_chat
from second_reader.layouts.literals import literal
from second_reader.parts import call_of, calls_in, role_of
from second_reader.said import Call, Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import exact, spelled


def told(record: dict[str, Any]) -> Told:
    """A record whose messages are JSON text."""
    messages = exact(record["messages"])
    is_sft = not isinstance(record.get("available_tools"), str)
    talk = Talk()
    for message in messages:
        content = message.get("content")
        if message.get("role") == "system" and str(content).startswith("<|im_system|>tool_declare"):
            continue  # the teacher's own way of declaring the tools, in its control tokens
        if role_of(message.get("role")) == "call" and is_sft:
            talk.assistant(calls=[("", call) for call in _python_calls(content)])
        else:
            openai_chat.take(talk, message)
    tools = record["tools" if is_sft else "available_tools"]
    return talk.told(tools_of(tools))


def _python_calls(content: Any) -> list[Call]:
    try:
        return [call for _, call in calls_in(content)[1]]
    except Unclear:
        value = literal(content)
    return [_python_call(call) for call in (value if isinstance(value, list) else [value])]


def _python_call(call: Any) -> Call:
    held = call.get("arguments") if isinstance(call, dict) else None
    if isinstance(held, str) and held:
        try:
            exact(held)
        except Unclear:
            return call_of({**call, "arguments": spelled(literal(held))})
    return call_of(call)
