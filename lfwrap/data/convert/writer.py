"""Conversations as the engine's rows: its ShareGPT shape with text only, and the lines they are written as."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any

import orjson
import xxhash

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts.arguments import dump_key
from lfwrap.data.schema.conversation import Conversation, Message, Role

# The engine's own tags; `registry.dataset_entry` declares them.
TAGS = {Role.USER: "human", Role.ASSISTANT: "gpt", Role.TOOL: "observation"}


def engine_row(conversation: Conversation, template: str) -> dict[str, Any]:
    """A conversation as one row: ``conversations`` (from/value texts), ``system`` and ``tools``, always all three.

    Rows with tools, calls or thoughts go through `lfwrap.data.convert.writer_tools.engine_row`, which knows how each
    template wants them; it raises `Reject` for what the template can't say.

    >>> engine_row(Conversation((Message(Role.USER, "2 + 3?"), Message(Role.ASSISTANT, "5"))), "")
    {'conversations': [{'from': 'human', 'value': '2 + 3?'}, {'from': 'gpt', 'value': '5'}], 'system': '', 'tools': ''}
    """
    if is_plain(conversation):
        turns = [{"from": TAGS[message.role], "value": message.text} for message in conversation.messages]
        return {"conversations": turns, "system": conversation.system, "tools": ""}
    row: dict[str, Any] = _tools_writer().engine_row(conversation, template)
    return row


def tool_changes(conversation: Conversation, template: str) -> Mapping[str, int]:
    """What of its tools' schemas a template can't print as it is: kind → how often it was changed.

    >>> tool_changes(Conversation(()), "")
    {}
    """
    if not conversation.tools:
        return {}
    changes: Mapping[str, int] = _tools_writer().tool_changes(conversation.tools, template)
    return changes


@functools.cache
def _tools_writer() -> Any:
    return importlib.import_module("lfwrap.data.convert.writer_tools")


def is_plain(conversation: Conversation) -> bool:
    """Whether a conversation is system, user and assistant text only: such a row is the same for every template."""
    return not conversation.tools and all(_is_plain(message) for message in conversation.messages)


def _is_plain(message: Message) -> bool:
    return not message.calls and not message.thought and message.role is not Role.TOOL


def engine_line(row: dict[str, Any]) -> bytes:
    r"""A row as its line of the file, with the line break at its end and none inside.

    Raises:
        Reject: a text holds half of a character (a lone surrogate), which no file can.

    >>> engine_line({"conversations": [], "system": "", "tools": ""})
    b'{"conversations":[],"system":"","tools":""}\n'
    """
    try:
        return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:
        raise Reject("lone-surrogate", "a text holds half of a character (a lone surrogate)") from error


def row_key(conversation: Conversation, line: bytes, seed: int) -> int:
    """A row's identity, 128 bits: of its line, or with tools of its content, whatever the template makes of it.

    Duplicates are found by it, and its upper half says on which side of the split a row goes.
    """
    if is_plain(conversation):
        return xxhash.xxh3_128_intdigest(line, seed)
    content = dump_key(_content(conversation), sort_keys=True)
    return xxhash.xxh3_128_intdigest(content.encode("utf-8", "surrogatepass"), seed)


def _content(conversation: Conversation) -> dict[str, Any]:
    """Everything by which two rows can differ. Ids differ from log to log and are never trained: they are left out."""
    return {
        "messages": [
            {
                "role": message.role.value,
                "text": message.text,
                "thought": message.thought,
                "calls": [{"name": call.name, "arguments": call.arguments} for call in message.calls],
                "name": message.name,
                "is_error": message.is_error,
            }
            for message in conversation.messages
        ],
        "system": conversation.system,
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in conversation.tools
        ],
    }
