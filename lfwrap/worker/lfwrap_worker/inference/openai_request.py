"""A request of OpenAI's API in the engine's words; used by `serve_api`.

The engine takes turns strictly by two, wants a description with every tool, writes a call's arguments into the prompt
as a text within the JSON (training has them as an object), takes ``presence_penalty`` for a repetition penalty, and
does not know ``max_completion_tokens``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_RESULTS_JOINT = "\n</tool_response>\n<tool_response>\n"
_DROPPED = ("presence_penalty",)


def engine_request(body: dict[str, Any], template: Any, after_result: Sequence[str] | None = None) -> dict[str, Any]:
    """The body of a chat completion as the engine's own model takes it.

    Args:
        body: OpenAI's.
        template: the engine's.
        after_result: how it has a user's words right after a result: role, what stands before, what between.

    Raises:
        ValueError, KeyError, TypeError: it is no such body.
    """
    request = {key: value for key, value in body.items() if key not in _DROPPED}
    if request.get("max_tokens") is None and body.get("max_completion_tokens") is not None:
        request["max_tokens"] = body["max_completion_tokens"]
    tools = [] if body.get("tool_choice") == "none" else body.get("tools") or []
    request["tools"] = [_tool(tool) for tool in tools] or None
    request["messages"] = _messages(body["messages"], template, after_result)
    request["n"] = body.get("n") or 1
    request["stream"] = bool(body.get("stream"))
    request.setdefault("model", "default")
    return request


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = dict(tool["function"])
    function["description"] = function.get("description") or ""
    function["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}


def _messages(
    messages: list[dict[str, Any]], template: Any, after_result: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Calls as the engine's function turns, results in a row as one turn, ``developer`` as the system prompt.

    A user's words right after results stand in one turn with them, as `prepare-data` writes them, where that is known.
    """
    done: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            results.append(message)
            continue
        observed = _observation(results, template, done) if results else None
        results = []
        if observed and after_result and message["role"] == "user" and _is_text(message.get("content")):
            role, opening, between = after_result
            content = opening + observed["content"] + between + _text(message["content"])
            done.append({"role": {"observation": "tool"}.get(role, role), "content": content})
            continue
        done += [observed] if observed else []
        done.append(_message(message))
    if results:
        done.append(_observation(results, template, done))
    return done


def _message(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if message["role"] == "assistant" and calls:
        values = [
            {"name": call["function"]["name"], "arguments": _arguments(call["function"].get("arguments"))}
            for call in calls
        ]
        return {"role": "function", "content": _dump(values[0] if len(values) == 1 else values)}
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    return {"role": role, "content": "" if content is None else content}


def _arguments(value: Any) -> Any:
    if not isinstance(value, str):
        return value or {}
    return json.loads(value) if value.strip() else {}


def _observation(results: list[dict[str, Any]], template: Any, before: list[dict[str, Any]]) -> dict[str, Any]:
    """As prepare-data writes them: joined where the template marks each, else a JSON list."""
    texts = [_text(result.get("content")) for result in results]
    if len(texts) == 1:
        return {"role": "tool", "content": texts[0]}
    slots = getattr(template.format_observation, "slots", [])
    if any(isinstance(slot, str) and "</tool_response>" in slot for slot in slots):
        return {"role": "tool", "content": _RESULTS_JOINT.join(texts)}
    names = _called(before)
    rows = [{"name": names[index] if index < len(names) else "", "content": text} for index, text in enumerate(texts)]
    return {"role": "tool", "content": _dump(rows)}


def _called(messages: list[dict[str, Any]]) -> list[str]:
    """The names of the calls just made, in their order."""
    if not messages or messages[-1]["role"] != "function":
        return []
    calls = json.loads(messages[-1]["content"])
    return [call["name"] for call in (calls if isinstance(calls, list) else [calls])]


def _is_text(content: Any) -> bool:
    if isinstance(content, list):
        return all(isinstance(part, dict) and part.get("type") == "text" for part in content)
    return isinstance(content, str)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
