"""Toucan: string columns, messages and tools as JSON text; the teacher set and the SFT set with Python calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.openai_chat import add_message
from lfwrap.data.formats.parts.arguments import parse_json_field
from lfwrap.data.formats.parts.messages import system_of
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation

_TOOLS_COLUMNS = ("available_tools", "tools")
_TOOLS_PROMPT = "<|im_system|>tool_declare"


def evidence(record: Mapping[str, Any]) -> str | None:
    """``messages`` is JSON text, and so are the tools."""
    if not _is_json_list(record.get("messages")):
        return None
    column = _tools_column(record)
    return f"messages is a JSON string, {column} present" if column else None


def _tools_column(record: Mapping[str, Any]) -> str | None:
    return next((name for name in _TOOLS_COLUMNS if isinstance(record.get(name), str)), None)


def _is_json_list(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip()[:1] == "["


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a conversation.

    The teacher's system prompt that only declares the tools in that teacher's own tokens is left out: the template
    declares them. In the SFT set calls may be Python dicts.

    Raises:
        Reject: the messages make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'get_weather', '15', '15度']
    """
    column = _tools_column(record)
    fields = notes.fields(record, "")
    turns = parse_json_field(fields.get("messages"), "messages")
    if column is None or not isinstance(turns, list):
        raise Reject("structure", "messages is not JSON text of a list, or there is no tools column")
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping) or "role" not in turn:
            raise Reject("structure", f"message {number} has no role")
        if _declares_tools(turn):
            notes.repair("tools-prompt-dropped")
            continue
        message = notes.fields(turn, "messages[]")
        add_message(builder, message, f"message {number}", notes, python=column == "tools", mcp=True)
    tools = parse_tools(fields[column], notes, column)
    return offer_tools(builder.build(tools, outer_system=system_of(fields, notes)), options)


def _declares_tools(turn: Mapping[str, Any]) -> bool:
    return turn["role"] == "system" and str(turn.get("content", "")).startswith(_TOOLS_PROMPT)


FORMAT = Format(
    name="toucan",
    description="Toucan rows: messages and tools as JSON text; the teacher set and the SFT set",
    example=(
        '{"uuid":"u1","question":"北京天气?","available_tools":"[{\\"name\\":\\"get_weather\\",\\"parameters\\":{'
        '\\"type\\":\\"object\\",\\"properties\\":{\\"city\\":{\\"type\\":\\"string\\"}}}}]","messages":"[{\\"role\\":'
        '\\"user\\",\\"content\\":\\"北京天气?\\"},{\\"role\\":\\"assistant\\",\\"content\\":\\"\\",\\"function_call\\":'
        '{\\"name\\":\\"get_weather\\",\\"arguments\\":\\"{\\\\\\"city\\\\\\": \\\\\\"北京\\\\\\"}\\"}},{\\"role\\":'
        '\\"function\\",\\"name\\":\\"get_weather\\",\\"content\\":\\"15\\"},{\\"role\\":\\"assistant\\",\\"content\\":'
        '\\"15度\\"}]"}'
    ),
    evidence=evidence,
    convert=convert,
)
