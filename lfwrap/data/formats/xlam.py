"""xLAM: query, answers and tools, the last two as JSON text, with flat parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_json_field
from lfwrap.data.formats.parts.calls import parse_calls
from lfwrap.data.formats.parts.messages import system_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text
from lfwrap.data.schema.conversation import Conversation, Message, Role


def evidence(record: Mapping[str, Any]) -> str | None:
    """query, answers and tools are present, and none is a list of messages."""
    if {"query", "answers", "tools"} <= record.keys() and not {"messages", "conversations"} & record.keys():
        return "query, answers and tools present"
    return None


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:  # noqa: ARG001
    """A row as a question and its calls.

    Raises:
        Reject: nothing asked, no call, or calls that can't be read.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['Weather in Paris?', 'get_weather']
    """
    fields = notes.fields(record, "")
    query = plain_text(fields.get("query"), "query", notes, "query")
    if not query.strip():
        raise Reject("empty-turn", "the query is empty")
    answers = parse_json_field(fields.get("answers"), "answers", "call")
    if not answers:
        raise Reject("no-answer", "answers is empty: there is no call to learn")
    calls = parse_calls(answers, notes, "answers")
    messages = (Message(Role.USER, query), Message(Role.ASSISTANT, calls=calls))
    tools = parse_tools(fields.get("tools"), notes)
    return Conversation(messages, system=system_of(fields, notes), tools=tools)


FORMAT = Format(
    name="xlam",
    description="xLAM function calling: query, answers and tools as JSON text, flat parameters",
    example=(
        '{"id":0,"query":"Weather in Paris?","answers":"[{\\"name\\":\\"get_weather\\",\\"arguments\\":{\\"city\\":'
        '\\"Paris\\"}}]","tools":"[{\\"name\\":\\"get_weather\\",\\"description\\":\\"d\\",\\"parameters\\":{\\"city\\":'
        '{\\"description\\":\\"city\\",\\"type\\":\\"str\\"},\\"unit\\":{\\"description\\":\\"unit\\",\\"type\\":'
        '\\"str, optional\\",\\"default\\":\\"c\\"}}}]"}'
    ),
    evidence=evidence,
    convert=convert,
)
