"""Anthropic messages (content blocks tool_use, tool_result, thinking) and MCP's sampling requests, which look alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_arguments
from lfwrap.data.formats.parts.calls import as_id
from lfwrap.data.formats.parts.messages import has_blocks, has_lone_call, system_of, turns_key, turns_of
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.roles import Speaker, speaker_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, result_text, split_thought
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation, ToolCall
from lfwrap.data.schema.fields import Fields


def evidence(record: Mapping[str, Any]) -> str | None:
    """Content blocks of type tool_use, tool_result or thinking, or tools with input_schema."""
    if turns_key(record) is None or not has_blocks(record) or has_lone_call(record):
        return None
    return "messages hold tool_use, tool_result or thinking blocks, or the tools have an input_schema"


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a conversation.

    Raises:
        Reject: the messages make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'get_weather', '15', '15度']
    """
    fields = notes.fields(record, "")
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns_of(fields, notes), 1):
        _add_message(builder, turn, f"message {number}", notes)
    tools = parse_tools(fields.get("tools"), notes)
    return offer_tools(builder.build(tools, outer_system=system_of(fields, notes)), options)


def _add_message(builder: TurnBuilder, turn: Fields, what: str, notes: RowNotes) -> None:
    speaker = speaker_of(turn["role"])
    path = turn.place_of("content")
    content = turn.get("content")
    parts: list[Any] = content if isinstance(content, list) else [content]
    if speaker is Speaker.SYSTEM:
        builder.system(plain_text(content, what, notes, path))
    elif speaker is Speaker.USER:
        _add_user(builder, parts, what, notes, path)
    elif speaker is Speaker.ASSISTANT:
        _add_assistant(builder, parts, what, notes, path)
    else:
        raise Reject("role", f"{what} has the role {turn['role']!r}, which Anthropic's messages don't have")


def _add_user(builder: TurnBuilder, parts: list[Any], what: str, notes: RowNotes, path: str) -> None:
    said: list[Any] = []
    for part in parts:
        if _type(part) == "tool_result":
            if said:
                _text(said, what, notes, path)  # a part that is no text is the stronger reason
                raise Reject("order", f"{what} holds text before a tool_result: results come first, then the text")
            block = notes.fields(part, f"{path}[]")
            block.get("type")
            text, is_error = result_text(block.get("content"), notes, block.place_of("content"))
            is_error = is_error or bool(block.get("is_error", block.get("isError", False)))
            builder.result(text, call_id=as_id(block.get("tool_use_id", block.get("toolUseId"))), is_error=is_error)
        else:
            said.append(part)
    if said:
        builder.user(_text(said, what, notes, path))


def _add_assistant(builder: TurnBuilder, parts: list[Any], what: str, notes: RowNotes, path: str) -> None:
    thoughts: list[str] = []
    said: list[Any] = []
    calls: list[ToolCall] = []
    for part in parts:
        kind = _type(part)
        if kind == "thinking":
            block = notes.fields(part, f"{path}[]")
            block.get("type")
            block.get("signature")  # the provider's own proof of the thought: nothing that could be trained
            thoughts.append(_text([block.get("thinking", "")], what, notes, block.place_of("thinking")))
            if (said or calls) and thoughts[-1].strip():
                notes.repair("thought-moved-to-front")
        elif kind == "redacted_thinking":
            notes.repair("redacted-thinking-dropped")
        elif kind == "tool_use":
            calls.append(_call(notes.fields(part, f"{path}[]"), what, notes))
        else:
            if calls and plain_text(part, what, RowNotes()).strip():
                notes.repair("text-before-calls")
            said.append(part)
    thought, text = split_thought(_text(said, what, notes, path), notes)
    builder.assistant(text, thought="\n".join(thoughts) or thought, calls=calls)


def _call(part: Fields, what: str, notes: RowNotes) -> ToolCall:
    part.get("type")
    name = part.get("name")
    if not isinstance(name, str) or not name:
        raise Reject("call", f"{what}: a tool_use block names no tool")
    return ToolCall(name, parse_arguments(part.get("input"), notes), id=as_id(part.get("id")))


def _text(parts: list[Any], what: str, notes: RowNotes, path: str) -> str:
    """The text of the parts; parts are this format's own way, so joining them is no repair."""
    quiet = RowNotes()
    text = plain_text(parts[0] if len(parts) == 1 else parts, what, quiet, path) if parts else ""
    notes.warnings += quiet.warnings
    notes.opened += quiet.opened
    return text


def _type(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None


FORMAT = Format(
    name="anthropic",
    description="Anthropic messages with tool_use, tool_result and thinking blocks; MCP sampling requests",
    example=(
        '{"system":"你是助手。","tools":[{"name":"get_weather","description":"查询天气","input_schema":{"type":"object",'
        '"properties":{"city":{"type":"string"}}}}],"messages":[{"role":"user","content":"北京天气?"},{"role":'
        '"assistant","content":[{"type":"tool_use","id":"a1","name":"get_weather","input":{"city":"北京"}}]},'
        '{"role":"user","content":[{"type":"tool_result","tool_use_id":"a1","content":"15"}]},'
        '{"role":"assistant","content":"15度"}]}'
    ),
    evidence=evidence,
    convert=convert,
)
