"""Role/content messages: what OpenAI's chat, Anthropic's and MCP-Flow's trajectories have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.roles import is_role
from lfwrap.data.formats.parts.texts import plain_text
from lfwrap.data.schema.fields import Fields, is_nothing

SYSTEM_KEYS = ("system", "system_prompt", "systemPrompt", "system_message", "系统提示")
TURNS_KEYS = ("messages", "conversations", "conversation")
BLOCK_TYPES = ("tool_use", "tool_result", "thinking", "redacted_thinking")


def turns_key(record: Mapping[str, Any]) -> str | None:
    """The key of a record's list of role/content messages, or None.

    >>> turns_key({"conversations": [{"role": "user", "content": "Hello"}]})
    'conversations'
    """
    return next((key for key in TURNS_KEYS if is_turns(record.get(key))), None)


def is_turns(value: Any) -> bool:
    """Whether a value is a list of role/content messages.

    >>> is_turns([{"role": "user", "content": "Hello"}]), is_turns("Hello")
    (True, False)
    """
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and is_role(value[0].get("role"))


def turns_of(record: Fields, notes: RowNotes) -> list[Fields]:
    """The messages of a record, opened.

    Raises:
        Reject: there are none, or one has no role.

    >>> notes = RowNotes()
    >>> record = notes.fields({"messages": [{"role": "user", "content": "Hello"}]}, "")
    >>> [(turn.path, turn["content"]) for turn in turns_of(record, notes)]
    [('messages[]', 'Hello')]
    """
    key = turns_key(record.content)
    if key is None:
        raise Reject("structure", "there is no list of messages with a role")
    return messages_of(record, key, notes)


def messages_of(record: Fields, key: str, notes: RowNotes) -> list[Fields]:
    """The messages under a key, opened.

    Raises:
        Reject: one has no role.
    """
    for number, turn in enumerate(record[key], 1):
        if not isinstance(turn, Mapping) or "role" not in turn:
            raise Reject("structure", f"message {number} has no role")
    return [notes.fields(turn, f"{key}[]") for turn in record[key]]


def system_of(record: Fields, notes: RowNotes) -> str:
    """The system prompt that stands beside a record's turns, or empty.

    >>> system_of(Fields({"system_prompt": "Be brief."}), RowNotes())
    'Be brief.'
    """
    key = next((key for key in SYSTEM_KEYS if not is_nothing(record.content.get(key))), None)
    return plain_text(record[key], key, notes, key) if key else ""


def has_blocks(record: Mapping[str, Any]) -> bool:
    """Whether some message holds Anthropic's content blocks, or the tools have its ``input_schema``.

    >>> has_blocks({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]})
    True
    """
    key = turns_key(record)
    turns = record.get(key, []) if key else []
    if any(_is_block(part) for turn in turns if isinstance(turn, Mapping) for part in _parts(turn)):
        return True
    tools = record.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, Mapping) and ("input_schema" in tool or "inputSchema" in tool) for tool in tools
    )


def _parts(turn: Mapping[str, Any]) -> list[Any]:
    content = turn.get("content")
    return content if isinstance(content, list) else [content]


def _is_block(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in BLOCK_TYPES


def has_lone_call(record: Mapping[str, Any]) -> bool:
    """Whether some message's ``tool_calls`` is one object and no list: MCP-Flow's trajectories.

    >>> has_lone_call({"messages": [{"role": "assistant", "tool_calls": {"name": "add"}}]})
    True
    """
    key = turns_key(record)
    turns = record.get(key, []) if key else []
    return any(isinstance(turn, Mapping) and isinstance(turn.get("tool_calls"), Mapping) for turn in turns)
