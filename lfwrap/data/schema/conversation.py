"""The canonical form that every input format becomes, and that the writer turns into engine rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """Who speaks in a message. A system prompt is a field of the conversation, not a message."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool: its arguments are an object, never text.

    Attributes:
        name: the tool's name.
        arguments: the arguments as JSON values.
        id: the call's id in the source, or empty.
    """

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: who speaks.
        text: what is said; for a tool, its result.
        thought: an assistant's reasoning before the text, without its tags.
        calls: an assistant's tool calls, in order.
        name: the tool that a tool message comes from.
        call_id: the call that a tool message answers, or empty.
        is_error: a tool message that reports a failure.
    """

    role: Role
    text: str = ""
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    name: str = ""
    call_id: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call; ``parameters`` is a JSON Schema object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A training example: system prompt, tools and turns, in the order in which they happened."""

    messages: tuple[Message, ...]
    system: str = ""
    tools: tuple[Tool, ...] = ()
