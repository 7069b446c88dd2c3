"""mcp-flow-simple: one call with its server, tool, response and final answer in one row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_json
from lfwrap.data.formats.parts.calls import parse_call
from lfwrap.data.formats.parts.offers import with_distractors
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.formats.parts.texts import plain_text, result_text
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation

_TOOL_KEYS = {"tool_name": "name", "tool_description": "description"}


def evidence(record: Mapping[str, Any]) -> str | None:
    """instruction, tool_info and function_call are present."""
    if isinstance(record.get("tool_info"), Mapping) and "function_call" in record and "instruction" in record:
        return "instruction, tool_info and function_call present"
    return None


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as question, call, result and answer, as far as they are there.

    Raises:
        Reject: nothing asked, or a tool or call that can't be read.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'get_weather', '{"t": 15}', '15度']
    """
    fields = notes.fields(record, "")
    info = fields.get("tool_info")
    if not isinstance(info, Mapping):
        raise Reject("tool", "tool_info is not an object")
    tool = parse_tool({_TOOL_KEYS.get(key, key): value for key, value in info.items()}, notes, "tool_info")
    builder = TurnBuilder(notes)
    builder.user(plain_text(fields.get("instruction"), "instruction", notes, "instruction"))
    builder.assistant(calls=[parse_call(fields.get("function_call"), notes, "function_call")])
    if fields.get("tool_response") is not None:
        text, is_error = _response(fields["tool_response"], notes)
        builder.result(text, is_error=is_error)
    if fields.get("final_response"):
        if fields["tool_response"] is None:
            raise Reject("unmatched-result", "there is a final_response, but no tool_response before it")
        builder.assistant(plain_text(fields["final_response"], "final_response", notes, "final_response"))
    conversation = builder.build()
    return dataclasses.replace(conversation, tools=with_distractors([tool], conversation, options))


def _response(value: Any, notes: RowNotes) -> tuple[str, bool]:
    """The response; its ``content`` may be JSON text of a list of MCP parts."""
    if not isinstance(value, Mapping):
        return result_text(value, notes, "tool_response", mcp=True)
    if "content" not in value:
        return result_text(value, notes, "tool_response", mcp=True)
    fields = notes.fields(value, "tool_response")
    content = fields["content"]
    is_error = bool(fields.get("isError", fields.get("is_error", False)))
    if isinstance(content, str) and content[:1] == "[":
        try:
            parts = parse_json(content)
        except (ValueError, Reject):
            parts = None
        if isinstance(parts, list) and parts and all(isinstance(part, Mapping) and "type" in part for part in parts):
            content = parts
    text, failed = result_text(content, notes, "tool_response.content", mcp=True)
    return text, is_error or failed


FORMAT = Format(
    name="mcpflow-simple",
    description="mcp-flow-simple rows: instruction, tool_info, function_call, tool_response, final_response",
    example=(
        '{"instruction":"北京天气?","server_info":{"server_name":"weather"},"tool_info":{"tool_name":"get_weather",'
        '"tool_description":"查询天气","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}},'
        '"function_call":{"name":"get_weather","arguments":{"city":"北京"}},"tool_response":{"content":'
        '"{\\"t\\": 15}"},'
        '"final_response":"15度"}'
    ),
    evidence=evidence,
    convert=convert,
)
