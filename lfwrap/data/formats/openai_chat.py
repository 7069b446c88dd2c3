"""OpenAI chat: messages with tool_calls (parallel ones too), content parts, the legacy function_call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import json_text, parse_json_field
from lfwrap.data.formats.parts.calls import as_id, parse_call, parse_call_text, parse_calls
from lfwrap.data.formats.parts.channels import function_name, said_on, split_channels
from lfwrap.data.formats.parts.messages import (
    has_blocks,
    has_lone_call,
    is_turns,
    messages_of,
    system_of,
    turns_key,
    turns_of,
)
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.roles import Speaker, speaker_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, result_text, split_thought
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation, Tool
from lfwrap.data.schema.fields import Fields, is_nothing
from lfwrap.data.schema.rules import CHANNEL_MARK

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_SPLIT = ("prompt", "completion")
_THOUGHT_PARTS = ("reasoning", "thinking")


def evidence(record: Mapping[str, Any]) -> str | None:
    """``messages`` is a list of role/content messages, without Anthropic's blocks or MCP-Flow's lone calls."""
    key = turns_key(record)
    if key is None and _is_split(record):
        return "prompt and completion are lists of role/content messages"
    if key is None or has_blocks(record) or has_lone_call(record):
        return None
    extras = [name for name in ("tools", "functions") if record.get(name)]
    extras += [name for name in ("tool_calls", "function_call") if _in_turns(record[key], name)]
    return f"{key} is a list of role/content messages" + "".join(f", {name} present" for name in extras)


def _in_turns(turns: list[Any], name: str) -> bool:
    return any(isinstance(turn, Mapping) and turn.get(name) for turn in turns)


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a conversation.

    Raises:
        Reject: the messages make no sense.

    >>> record = {"messages": [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "5"}]}
    >>> convert(record, ConvertOptions(), RowNotes()).messages[-1].text
    '5'
    """
    fields = notes.fields(record, "")
    key = "tools" if fields.get("tools") else "functions"
    tools = parse_tools(fields.get(key), notes, key)
    if turns_key(record) is None and _is_split(record):
        turns = [turn for part in _SPLIT for turn in messages_of(fields, part, notes)]
    else:
        turns = turns_of(fields, notes)
    return convert_messages(turns, fields, tools, options, notes)


def _is_split(record: Mapping[str, Any]) -> bool:
    """Whether the turns stand under two names, the last ones under ``completion``."""
    return all(is_turns(record.get(part)) for part in _SPLIT)


def convert_messages(
    turns: Sequence[Fields], record: Fields, tools: Sequence[Tool], options: ConvertOptions, notes: RowNotes
) -> Conversation:
    """Messages as a conversation, with tools known already.

    Raises:
        Reject: the messages make no sense.
    """
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns, 1):
        add_message(builder, turn, f"message {number}", notes)
    return offer_tools(builder.build(tools, outer_system=system_of(record, notes)), options)


def add_message(
    builder: TurnBuilder, turn: Fields, what: str, notes: RowNotes, *, python: bool = False, mcp: bool = False
) -> None:
    """Add one role/content message to a conversation that is being built.

    Args:
        builder: takes it.
        turn: the message.
        what: what to call it (``message 3``).
        notes: counts repairs.
        python: whether calls may be written as Python (Toucan's SFT set).
        mcp: whether results come from MCP, which wraps them.

    Raises:
        Reject: it makes no sense.
    """
    speaker = speaker_of(turn["role"])
    if speaker is Speaker.SYSTEM:
        builder.system(_text(turn, what, notes))
    elif speaker is Speaker.USER:
        builder.user(_text(turn, what, notes))
    elif speaker is Speaker.RESULT:
        _add_result(builder, turn, notes, mcp=mcp)
    elif speaker is Speaker.CALL:
        said, calls = parse_call_text(_call_text(turn, what, notes), notes, f"{turn.path}.content", python=python)
        builder.assistant(said, calls=calls)
    else:
        _add_assistant(builder, turn, what, notes)


def _text(turn: Fields, what: str, notes: RowNotes) -> str:
    return plain_text(turn.get("content"), what, notes, turn.place_of("content"))


def _call_text(turn: Fields, what: str, notes: RowNotes) -> str:
    content = turn.content.get("content")
    if isinstance(content, Mapping) and "name" in content:
        return json_text(turn["content"], notes)
    return _text(turn, what, notes)


def _add_result(builder: TurnBuilder, turn: Fields, notes: RowNotes, *, mcp: bool) -> None:
    text, is_error = result_text(turn.get("content"), notes, turn.place_of("content"), mcp=mcp)
    name = turn.get("name")
    if turn.get("channel") is not None:  # harmony: results go from functions.NAME to the assistant
        turn.get("recipient")
        name = function_name(name) if isinstance(name, str) else name
    call_id = as_id(turn.get("tool_call_id", turn.get("toolCallId", "")))
    builder.result(text, name=name if isinstance(name, str) else "", call_id=call_id, is_error=is_error)


def _add_assistant(builder: TurnBuilder, turn: Fields, what: str, notes: RowNotes) -> None:
    if turn.get("channel") is not None or str(turn.content.get("recipient")).startswith("functions."):
        _add_on_channel(builder, turn, what, notes)
        return
    content = turn.get("content")
    thought = _thought(turn)
    calls: list[Any] = []
    if isinstance(content, list):
        thoughts, content, calls = _split_parts(content, notes, turn.place_of("content"))
        thought = "\n".join([thought, *thoughts] if thought else thoughts)
    legacy, modern = turn.get("function_call"), turn.get("tool_calls")
    if content is None:
        # OpenAI's own ways of saying nothing beside a call, and of saying no
        content = turn.get("refusal") or ("" if modern or legacy else None)
    if isinstance(modern, str):
        raise Reject("structure", f"{what}: tool_calls is text, expected a list")
    text = plain_text(content, what, notes, turn.place_of("content")) if content != [] else ""
    parsed = [parse_call(call, notes, turn.place_of("content[]")) for call in calls]
    parsed += parse_calls(modern, notes, turn.place_of("tool_calls")) if modern else ()
    if legacy:
        notes.repair("legacy-function-call")
        parsed.append(parse_call(legacy, notes, turn.place_of("function_call")))
    if CHANNEL_MARK in text:
        for said in split_channels(text, notes):
            builder.assistant(said.text, thought=said.thought, calls=said.calls)
        text = ""
        if not parsed and not thought:
            return
    in_tags, text = split_thought(text, notes)
    if thought and in_tags and thought.strip() != in_tags:
        thought = f"{thought}\n{in_tags}"
    builder.assistant(text, thought=thought or in_tags, calls=parsed)


def _add_on_channel(builder: TurnBuilder, turn: Fields, what: str, notes: RowNotes) -> None:
    """A message of one of harmony's channels, with the thought and the calls that may stand beside it."""
    recipient, modern = turn.get("recipient") or "", turn.get("tool_calls")
    if isinstance(modern, str):
        raise Reject("structure", f"{what}: tool_calls is text, expected a list")
    text = "" if modern and turn.get("content") is None else _text(turn, what, notes)
    channel = turn.get("channel")
    said = said_on("commentary" if channel is None else str(channel), str(recipient), text, notes)
    calls = [*said.calls, *(parse_calls(modern, notes, turn.place_of("tool_calls")) if modern else ())]
    thought = "\n".join(each for each in (_thought(turn), said.thought) if each)
    builder.assistant(said.text, thought=thought, calls=calls)


def _thought(turn: Fields) -> str:
    """The thought that stands beside the content; the same thought under a second name is no other one."""
    thought = ""
    for key in _THOUGHT_KEYS:
        value = turn.content.get(key)
        if is_nothing(value) or value == thought:
            turn.get(key)
        elif isinstance(value, str) and not thought:
            thought = turn[key]
    return thought


def _split_parts(parts: list[Any], notes: RowNotes, path: str) -> tuple[list[str], list[Any], list[Any]]:
    """Content parts apart: thoughts, text, calls (LLaMA-Factory's v1 sets have all three as parts)."""
    thoughts: list[str] = []
    texts: list[Any] = []
    calls: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _THOUGHT_PARTS:
            fields = notes.fields(part, f"{path}[]")
            key = next((key for key in ("text", "value", "thinking", fields["type"]) if key in fields), "text")
            thoughts.append(plain_text(fields.get(key, ""), "a thought", notes, fields.place_of(key)))
        elif kind == "tool_call":
            fields = notes.fields(part, f"{path}[]")
            fields.get("type")
            value = fields.get("value", fields)
            calls.append(parse_json_field(value, "a tool_call part", "call"))
        else:
            texts.append(part)
    return thoughts, texts, calls


FORMAT = Format(
    name="openai",
    description="OpenAI chat messages: tool_calls with arguments as text, parallel calls, content parts, function_call",
    example=(
        '{"messages":[{"role":"user","content":"北京天气?"},{"role":"assistant","content":null,"tool_calls":'
        '[{"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{\\"city\\": \\"北京\\"}"}}]},'
        '{"role":"tool","tool_call_id":"c1","content":"15"},{"role":"assistant","content":"15度"}],'
        '"tools":[{"type":"function","function":{"name":"get_weather","description":"查询天气","parameters":'
        '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]}'
    ),
    evidence=evidence,
    convert=convert,
)
