"""OpenAI chat: messages with tool_calls (parallel ones too), content parts, the legacy function_call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_json_field
from lfwrap.data.formats.parts.calls import as_id, parse_call, parse_call_text, parse_calls
from lfwrap.data.formats.parts.messages import has_blocks, has_lone_call, turns_key, turns_of
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.roles import Speaker, speaker_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, result_text, split_thought
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation

_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_PARTS = ("reasoning", "thinking")


def evidence(record: Mapping[str, Any]) -> str | None:
    """``messages`` is a list of role/content messages, without Anthropic's blocks or MCP-Flow's lone calls."""
    key = turns_key(record)
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
    tools = parse_tools(record.get("tools") or record.get("functions"), notes)
    return convert_messages(turns_of(record), record, tools, options, notes)


def convert_messages(
    turns: list[Mapping[str, Any]], record: Mapping[str, Any], tools: Any, options: ConvertOptions, notes: RowNotes
) -> Conversation:
    """Messages as a conversation, with tools known already.

    Raises:
        Reject: the messages make no sense.
    """
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns, 1):
        add_message(builder, turn, f"message {number}", notes)
    system = plain_text(record["system"], "system", notes) if record.get("system") else ""
    return offer_tools(builder.build(tools, default_system=system), options)


def add_message(
    builder: TurnBuilder, turn: Mapping[str, Any], what: str, notes: RowNotes, *, python: bool = False
) -> None:
    """Add one role/content message to a conversation that is being built.

    Args:
        builder: takes it.
        turn: the message.
        what: what to call it (``message 3``).
        notes: counts repairs.
        python: whether calls may be written as Python (Toucan's SFT set).

    Raises:
        Reject: it makes no sense.
    """
    speaker = speaker_of(turn["role"])
    if speaker is Speaker.SYSTEM:
        builder.system(plain_text(turn.get("content"), what, notes))
    elif speaker is Speaker.USER:
        builder.user(plain_text(turn.get("content"), what, notes))
    elif speaker is Speaker.RESULT:
        _add_result(builder, turn, notes)
    elif speaker is Speaker.CALL:
        said, calls = parse_call_text(_call_text(turn, what, notes), notes, python=python)
        builder.assistant(said, calls=calls)
    else:
        _add_assistant(builder, turn, what, notes)


def _call_text(turn: Mapping[str, Any], what: str, notes: RowNotes) -> str:
    content = turn.get("content")
    if isinstance(content, Mapping) and "name" in content:
        return json.dumps(content, ensure_ascii=False)
    return plain_text(content, what, notes)


def _add_result(builder: TurnBuilder, turn: Mapping[str, Any], notes: RowNotes) -> None:
    content = turn.get("content")
    if isinstance(content, list):
        content = [_plain_part(part) for part in content]
    text, is_error = result_text(content, notes)
    name = turn.get("name")
    call_id = as_id(turn.get("tool_call_id", turn.get("toolCallId", "")))
    builder.result(text, name=name if isinstance(name, str) else "", call_id=call_id, is_error=is_error)


def _plain_part(part: Any) -> Any:
    """A part with its text under ``text``: some sets have it under ``value``."""
    if isinstance(part, Mapping) and "text" not in part and isinstance(part.get("value"), str):
        return {**part, "text": part["value"]}
    return part


def _add_assistant(builder: TurnBuilder, turn: Mapping[str, Any], what: str, notes: RowNotes) -> None:
    content = turn.get("content")
    thought = next((turn[key] for key in _THOUGHT_KEYS if isinstance(turn.get(key), str) and turn[key]), "")
    calls: list[Any] = []
    if isinstance(content, list):
        thoughts, content, calls = _split_parts(content)
        thought = "\n".join([thought, *thoughts] if thought else thoughts)
    legacy, modern = turn.get("function_call"), turn.get("tool_calls")
    if content is None and (modern or legacy):
        content = ""  # OpenAI's own way of saying nothing beside a call
    if isinstance(modern, str):
        raise Reject("structure", f"{what}: tool_calls is text, expected a list")
    in_tags, text = split_thought(plain_text(content, what, notes) if content != [] else "", notes)
    parsed = [parse_call(call, notes) for call in calls]
    parsed += parse_calls(modern, notes) if modern else ()
    if legacy:
        notes.repair("legacy-function-call")
        parsed.append(parse_call(legacy, notes))
    builder.assistant(text, thought=thought or in_tags, calls=parsed)


def _split_parts(parts: list[Any]) -> tuple[list[str], list[Any], list[Any]]:
    """Content parts apart: thoughts, text, calls (LLaMA-Factory's v1 sets have all three as parts)."""
    thoughts: list[str] = []
    texts: list[Any] = []
    calls: list[Any] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _THOUGHT_PARTS:
            thoughts.append(str(part.get("text", part.get("value", part.get("thinking", "")))))
        elif kind == "tool_call":
            value = part.get("value", part)
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
