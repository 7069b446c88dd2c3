"""ShareGPT: ``conversations`` of from/value, with or without tools; also the engine's own rows and Hermes' tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lfwrap.data.formats import toolace
from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import exact_or_none, json_text
from lfwrap.data.formats.parts.calls import has_call_block, parse_call_text
from lfwrap.data.formats.parts.channels import Said, said_on, split_channels
from lfwrap.data.formats.parts.messages import system_of
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.roles import Speaker, is_role, speaker_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, readable_json, result_text, split_thought
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation
from lfwrap.data.schema.fields import Fields
from lfwrap.data.schema.rules import CHANNEL_MARK

_TURNS_KEYS = ("conversations", "conversation", "messages")
_RESULTS_JOINT = "\n</tool_response>\n<tool_response>\n"
_RESPONSE_BEGINS, _RESPONSE_ENDS = "<tool_response>", "</tool_response>"


def evidence(record: Mapping[str, Any]) -> str | None:
    """``conversations`` is a list of from/value turns, and the tools are not in the system prompt."""
    key = _turns_key(record)
    if key is None or toolace.evidence(record):
        return None
    tools = ", tools present" if record.get("tools") else ""
    return f"{key} is a list of from/value turns{tools}"


def _turns_key(record: Mapping[str, Any]) -> str | None:
    for key in _TURNS_KEYS:
        turns = record.get(key)
        if isinstance(turns, list) and turns and isinstance(turns[0], Mapping):
            first = turns[0]
            if "value" in first and is_role(first.get("from")):
                return key
    return None


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a conversation.

    Raises:
        Reject: the turns make no sense.

    >>> record = {"conversations": [{"from": "human", "value": "2 + 3?"}, {"from": "gpt", "value": "5"}]}
    >>> convert(record, ConvertOptions(), RowNotes()).messages[-1].text
    '5'
    """
    key = _turns_key(record)
    if key is None:
        raise Reject("structure", "there is no list of from/value turns")
    fields = notes.fields(record, "")
    builder = TurnBuilder(notes)
    tools = parse_tools(fields.get("tools"), notes)
    for number, turn in enumerate(fields[key], 1):
        if not isinstance(turn, Mapping) or "from" not in turn:
            raise Reject("structure", f"turn {number} has no 'from'")
        said = notes.fields(turn, f"{key}[]")
        text = plain_text(said.get("value"), f"turn {number}", notes, said.place_of("value"))
        speaker = speaker_of(said["from"])
        if speaker is Speaker.ASSISTANT and (CHANNEL_MARK in text or said.content.get("channel") is not None):
            for spoken in _on_channels(said, text, notes):
                builder.assistant(spoken.text, thought=spoken.thought, calls=spoken.calls)
        else:
            _add(builder, speaker, text, bool(tools), notes)
    conversation = builder.build(tools, outer_system=system_of(fields, notes))
    return offer_tools(conversation, options)


def _on_channels(turn: Fields, text: str, notes: RowNotes) -> Sequence[Said]:
    """What an assistant's turn says on harmony's channels, of which a field or marks in its text tell."""
    channel, recipient = turn.get("channel"), turn.get("recipient")
    return (
        split_channels(text, notes) if channel is None else [said_on(str(channel), str(recipient or ""), text, notes)]
    )


def _add(builder: TurnBuilder, speaker: Speaker, text: str, has_tools: bool, notes: RowNotes) -> None:
    if speaker is Speaker.SYSTEM:
        builder.system(text)
    elif speaker is Speaker.USER:
        builder.user(text)
    elif speaker is Speaker.RESULT:
        _add_results(builder, text, notes)
    else:
        thought, said = split_thought(text, notes)
        if speaker is Speaker.CALL or (has_tools and has_call_block(said)):
            said, calls = parse_call_text(said, notes)
            builder.assistant(said, thought=thought, calls=calls)
        else:
            builder.assistant(said, thought=thought)


def _add_results(builder: TurnBuilder, text: str, notes: RowNotes) -> None:
    """One observation, which may hold the results of several calls in either of the engine's ways."""
    count = len(builder.calls)
    tagged = text.strip()
    if tagged.startswith(_RESPONSE_BEGINS) and tagged.endswith(_RESPONSE_ENDS):
        notes.repair("tool-response-tags")
        text = tagged.removeprefix(_RESPONSE_BEGINS).removesuffix(_RESPONSE_ENDS).strip()
    parts = text.split(_RESULTS_JOINT)
    if count > 1 and len(parts) == count:
        for part in parts:
            builder.result(result_text(part, notes)[0])
        return
    named = _named_results(text) if count > 1 else None
    if named is not None and len(named) == count:
        for name, held in named:
            content = held if isinstance(held, str) else json_text(held, notes)
            builder.result(readable_json(content, notes), name=name)
        return
    content, is_error = result_text(text, notes)
    builder.result(content, is_error=is_error)


def _named_results(text: str) -> list[tuple[str, Any]] | None:
    """``[{"name": …, "content": …}, …]`` as pairs, None for anything else."""
    if not text.startswith("["):
        return None
    values = exact_or_none(text)
    wanted = {"name", "content"}
    if values is None or not all(isinstance(value, Mapping) and set(value) == wanted for value in values):
        return None
    return [(str(value["name"]), value["content"]) for value in values]


FORMAT = Format(
    name="sharegpt",
    description="conversations of from/value turns, with or without tools; LLaMA-Factory's own rows, too",
    example=(
        '{"conversations":[{"from":"human","value":"北京天气?"},{"from":"function_call","value":'
        '"{\\"name\\":\\"get_weather\\",\\"arguments\\":{\\"city\\":\\"北京\\"}}"},{"from":"observation","value":"15"},'
        '{"from":"gpt","value":"15度"}],"tools":"[{\\"name\\":\\"get_weather\\",\\"description\\":\\"查询天气\\",'
        '\\"parameters\\":{\\"type\\":\\"object\\",\\"properties\\":{\\"city\\":{\\"type\\":\\"string\\"}},'
        '\\"required\\":[\\"city\\"]}}]"}'
    ),
    evidence=evidence,
    convert=convert,
)
