"""MCP-Flow's function calls: an instruction and its call, the tools in files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.calls import parse_calls
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.texts import plain_text
from lfwrap.data.schema.conversation import Conversation, Message, Role


def evidence(record: Mapping[str, Any]) -> str | None:
    """function_call and source_instruction are present."""
    if "source_instruction" in record and isinstance(record.get("function_call"), Mapping | list):
        return "function_call and source_instruction present, the tools are in other files"
    return None


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a question and its call, with the tool from ``--tools`` and ``--distractors`` others.

    Raises:
        Reject: nothing asked, or a call that can't be read.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'weather_get']
    """
    fields = notes.fields(record, "")
    question = plain_text(fields.get("source_instruction"), "source_instruction", notes, "source_instruction")
    if not question.strip():
        raise Reject("empty-turn", "source_instruction is empty")
    calls = parse_calls(fields.get("function_call"), notes, "function_call")
    if any(call.name == fields.content.get("tool") for call in calls):
        fields.get("tool")  # names the call's tool once more
    messages = (Message(Role.USER, question), Message(Role.ASSISTANT, calls=calls))
    return offer_tools(Conversation(messages), options)


FORMAT = Format(
    name="mcpflow",
    description="MCP-Flow function calls; give the tools with --tools FILE or FOLDER",
    example=(
        '{"function_call":{"name":"weather_get","arguments":{"city":"北京"}},"source_instruction":"北京天气?",'
        '"tool":"weather_get"}'
    ),
    evidence=evidence,
    convert=convert,
)
