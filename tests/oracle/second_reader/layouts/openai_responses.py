"""OpenAI's Responses: https://platform.openai.com/docs/api-reference/responses; NeMo-Gym's requests with answers."""

from __future__ import annotations

from typing import Any

from second_reader.layouts import openai_chat
from second_reader.parts import call_of, id_of, result_of, text_of
from second_reader.said import Talk, Told, Unclear
from second_reader.schemas import tools_of


def told(record: dict[str, Any]) -> Told:
    """A request with its output, or with the calls that are expected."""
    request = record.get("responses_create_params", record)
    talk = Talk()
    if request.get("instructions"):
        talk.system(text_of(request["instructions"]))
    asked = request.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    if not isinstance(items, list) or not isinstance(record.get("output", []), list):
        raise Unclear("input or output is no list")
    for item in items + record.get("output", []):
        _take(talk, item)
    if record.get("expected_answers"):
        talk.assistant(calls=[("", call_of(call)) for call in record["expected_answers"]])
    return talk.told(tools_of(request.get("tools")))


def _take(talk: Talk, item: dict[str, Any]) -> None:
    kind = item.get("type", "message")
    if kind == "function_call":
        talk.assistant(calls=[(id_of(item.get("call_id", item.get("id"))), call_of(item))])
    elif kind == "function_call_output":
        talk.result(result_of(item.get("output")), id_of(item.get("call_id")))
    elif kind == "reasoning":
        talk.assistant(thought="\n".join(part["text"] for part in item.get("summary") or item.get("content") or []))
    elif kind == "message" and "role" in item:
        openai_chat.take(talk, item)
    else:
        raise Unclear(f"an item of type {kind!r}")
