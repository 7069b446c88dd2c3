"""Rows of one question and its calls: xLAM, MCP-Flow's calls, mcp-flow-simple, and BFCL with its accepted answers."""

from __future__ import annotations

from typing import Any

from second_reader.layouts import openai_chat
from second_reader.parts import call_of, failed, is_mcp, mcp_text, result_of, text_of
from second_reader.said import Call, Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import exact, spelled

_OMITTED = object()


def xlam(record: dict[str, Any]) -> Told:
    """xLAM (huggingface.co/datasets/Salesforce/xlam-function-calling-60k)."""
    answers = exact(record["answers"]) if isinstance(record["answers"], str) else record["answers"]
    if not answers:
        raise Unclear("no call")
    return _asked(text_of(record["query"]), answers, tools_of(record["tools"]))


def mcpflow(record: dict[str, Any]) -> Told:
    """MCP-Flow's function calls: the tools stand in files of their own."""
    return _asked(text_of(record["source_instruction"]), record["function_call"], None)


def mcpflow_simple(record: dict[str, Any]) -> Told:
    """mcp-flow-simple: one call with its tool, what came back and the final answer."""
    info = record["tool_info"]
    tool = {**info, "name": info.get("tool_name"), "description": info.get("tool_description")}
    talk = Talk()
    talk.user(text_of(record["instruction"]))
    talk.assistant(calls=[("", call_of(record["function_call"]))])
    if record.get("tool_response") is not None:
        talk.result(_response(record["tool_response"]))
        if record.get("final_response"):
            talk.assistant(text_of(record["final_response"]))
    return talk.told(tools_of([tool]))


def _response(value: Any) -> tuple[str, ...]:
    if not isinstance(value, dict):
        return result_of(value, from_mcp=True)
    content = value.get("content", value)
    if isinstance(content, str) and content.startswith("["):
        try:
            parts = exact(content)
        except Unclear:
            parts = None
        if is_mcp({"content": parts}) and parts:
            content = parts
    texts = mcp_text({"content": content}) if is_mcp({"content": content}) else result_of(content, from_mcp=True)
    return tuple(marked for text in texts for marked in failed(text)) if value.get("isError") else texts


def bfcl(record: dict[str, Any]) -> Told:
    """BFCL (gorilla.cs.berkeley.edu): the first accepted value of each argument; "" means that it may be left out."""
    truth, question = record.get("ground_truth"), record["question"]
    if not truth or len(question) != 1:
        raise Unclear("no accepted answer, or several questions")
    required = {each["name"]: each.get("parameters", {}).get("required", []) for each in record["function"]}
    talk = Talk()
    for message in question[0]:
        openai_chat.take(talk, message)
    calls = []
    for answer in truth:
        ((name, accepted),) = answer.items()
        chosen = {}
        for key, values in accepted.items():
            known = [value for value in values if value != ""] if key in required.get(name, []) else values
            chosen[key] = _first(known)
        calls.append(("", Call(name, spelled({key: held for key, held in chosen.items() if held is not _OMITTED}))))
    talk.assistant(calls=calls)
    return talk.told(tools_of(record["function"]))


def _first(values: Any) -> Any:
    if not isinstance(values, list):
        return values
    return _OMITTED if not values or values[0] == "" else _inner(values[0])


def _inner(value: Any) -> Any:
    if isinstance(value, dict):
        held = {key: _first(values) for key, values in value.items()}
        return {key: each for key, each in held.items() if each is not _OMITTED}
    return [_inner(item) for item in value] if isinstance(value, list) else value


def _asked(question: str, calls: Any, tools: Any) -> Told:
    talk = Talk()
    talk.user(question)
    talk.assistant(calls=[("", call_of(call)) for call in (calls if isinstance(calls, list) else [calls])])
    return talk.told(tools)
