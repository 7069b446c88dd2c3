"""OpenAI Responses: input items (message, function_call, function_call_output, reasoning) and what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.openai_chat import add_message
from lfwrap.data.formats.parts.calls import as_id, parse_call, parse_calls
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, result_text
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation
from lfwrap.data.schema.fields import Fields

_ITEM_TYPES = ("message", "function_call", "function_call_output", "reasoning")


def evidence(record: Mapping[str, Any]) -> str | None:
    """``responses_create_params`` is present, or input and output are lists of typed items."""
    if isinstance(record.get("responses_create_params"), Mapping):
        return "responses_create_params present" + (
            ", expected_answers present" if "expected_answers" in record else ""
        )
    if _has_items(record.get("output")) and "input" in record:
        return "input present, output is a list of message and function_call items"
    return None


def _has_items(value: Any) -> bool:
    return isinstance(value, list) and any(
        isinstance(item, Mapping) and item.get("type") in _ITEM_TYPES for item in value
    )


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A row as a conversation: the input, then the output or the expected calls.

    Raises:
        Reject: the items make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'get_weather']
    """
    fields = request = notes.fields(record, "")
    if "responses_create_params" in fields:
        params = fields["responses_create_params"]
        if not isinstance(params, Mapping):
            raise Reject("structure", "responses_create_params is not an object")
        request = notes.fields(params, "responses_create_params")
    builder = TurnBuilder(notes)
    if request.get("instructions"):
        builder.system(plain_text(request["instructions"], "instructions", notes, request.place_of("instructions")))
    asked = request.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    answered = fields.get("output", [])
    if not isinstance(items, list) or not isinstance(answered, list):
        raise Reject("structure", "input or output is not a list of items")
    paths = [request.place_of("input[]")] * len(items) + ["output[]"] * len(answered)
    for number, (item, path) in enumerate(zip([*items, *answered], paths, strict=True), 1):
        _add_item(builder, item, f"item {number}", notes, path)
    if fields.get("expected_answers"):
        builder.assistant(calls=parse_calls(fields["expected_answers"], notes, "expected_answers"))
    return offer_tools(builder.build(parse_tools(request.get("tools"), notes, request.place_of("tools"))), options)


def _add_item(builder: TurnBuilder, value: Any, what: str, notes: RowNotes, path: str) -> None:
    if not isinstance(value, Mapping):
        raise Reject("structure", f"{what} is not an object")
    item = notes.fields(value, path)
    kind = item.get("type", "message")
    item.get("id")  # the item's own number, which nothing refers to
    if kind == "function_call":
        call = parse_call(item, notes)
        builder.assistant(calls=[replace(call, id=as_id(item["call_id"])) if "call_id" in item else call])
    elif kind == "function_call_output":
        text, is_error = result_text(item.get("output"), notes, item.place_of("output"))
        builder.result(text, call_id=as_id(item.get("call_id")), is_error=is_error)
    elif kind == "reasoning":
        builder.assistant(thought=_thought(item, what, notes))
    elif "role" in item:
        add_message(builder, item, what, notes)
    else:
        raise Reject("structure", f"{what} is of type {kind!r}, which can't be trained")


def _thought(item: Fields, what: str, notes: RowNotes) -> str:
    """A reasoning item's summary, or its content."""
    key = next((key for key in ("summary", "content") if item.content.get(key)), "summary")
    parts = item.get(key) or []
    if not isinstance(parts, list):
        raise Reject("structure", f"{what}: a reasoning item's {key} is not a list")
    opened = [notes.fields(part, f"{item.place_of(key)}[]") for part in parts if isinstance(part, Mapping)]
    for part in opened:
        part.get("type")
    return "\n".join(str(part.get("text") or "") for part in opened)


FORMAT = Format(
    name="openai-responses",
    description="OpenAI Responses items with expected calls (responses_create_params) or an output list",
    example=(
        '{"responses_create_params":{"input":[{"role":"user","content":"北京天气?"}],"tools":[{"type":"function",'
        '"name":"get_weather","description":"查询天气","parameters":{"type":"object","properties":{"city":'
        '{"type":"string"}}}}]},"expected_answers":[{"name":"get_weather","arguments":{"city":"北京"}}]}'
    ),
    evidence=evidence,
    convert=convert,
)
