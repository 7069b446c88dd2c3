"""What several layouts share: names of roles, texts made of parts, thoughts in tags, calls and results."""

from __future__ import annotations

import re
from typing import Any

from second_reader.said import Call, Unclear
from second_reader.values import exact, readable, spelled

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "ai": "assistant", "bot": "assistant",
    "chatgpt": "assistant",
    "function_call": "call", "tool_call": "call", "function-call": "call", "tool-call": "call",
    "tool": "result", "function": "result", "observation": "result", "tool_response": "result",
    "function_response": "result", "ipython": "result", "tool_result": "result",
}  # fmt: skip
_THOUGHT = re.compile(r"\s*<(think|thinking)>(.*?)</\1>\s*(.*)\Z", re.DOTALL)
_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_MCP_KEYS = {"content", "structuredContent", "isError", "_meta", "resultType"}
_MCP_PARTS = {"text", "image", "audio", "resource", "resource_link"}


def role_of(name: Any) -> str:
    """The role that a name means. Raises Unclear."""
    role = ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise Unclear(f"a role {name!r}")
    return role


def text_of(value: Any) -> str:
    """Text, or parts of text, which belong together without anything between. Raises Unclear for anything else."""
    if isinstance(value, list):
        return "".join(_part(part) for part in value)
    if isinstance(value, dict):
        return _part(value)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return spelled(value)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text"):
        text = part.get("text", part.get("value"))
        if isinstance(text, str):
            return text
    if isinstance(part, dict) and part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
        return part["refusal"]
    raise Unclear("a part that is no text")


def thought_apart(text: str) -> tuple[str, str]:
    """A thought in tags at the beginning, and what follows it."""
    found = _THOUGHT.match(text)
    return (found[2].strip(), found[3]) if found else ("", text)


def call_of(value: Any, arguments: tuple[str, ...] = ("arguments", "parameters", "input", "args")) -> Call:
    """A call, wrapped in a ``function`` or bare; arguments are an object, or text of one (perhaps twice)."""
    inner = value.get("function") if isinstance(value, dict) and isinstance(value.get("function"), dict) else value
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise Unclear("a call without a name")
    return Call(inner["name"], arguments_of(next((inner[key] for key in arguments if key in inner), None)))


def arguments_of(value: Any) -> str:
    """Arguments as JSON text; nothing is no arguments."""
    for _ in range(2):
        if isinstance(value, str) and value:
            value = exact(value)
    if value is None or value == "":
        value = {}
    if not isinstance(value, dict):
        raise Unclear("arguments that are no object")
    return spelled(value)


def calls_in(text: str) -> tuple[str, list[tuple[str, Call]]]:
    """The text and the calls of a turn that is JSON of calls, or text with ``<tool_call>`` blocks."""
    blocks = _BLOCK.findall(text)
    values = [exact(block) for block in blocks or [text]]
    calls = [call for value in values for call in (value if isinstance(value, list) else [value])]
    return (_BLOCK.sub("", text).strip() if blocks else ""), [(id_of(call.get("id")), call_of(call)) for call in calls]


def has_blocks(text: str) -> bool:
    """Whether a text holds a call in tags."""
    return _BLOCK.search(text) is not None


def id_of(value: Any) -> str:
    """An id as text."""
    return "" if value is None else str(value)


def is_mcp(value: Any) -> bool:
    """Whether a value can be nothing but the result of an MCP call: all its keys, all its parts are MCP's."""
    if not isinstance(value, dict) or not set(value) <= _MCP_KEYS or not set(value) & {"content", "structuredContent"}:
        return False
    parts = value.get("content", [])
    return isinstance(parts, list) and all(isinstance(part, dict) and part.get("type") in _MCP_PARTS for part in parts)


def mcp_text(value: dict[str, Any]) -> tuple[str, ...]:
    """What an MCP result becomes: text parts by lines, else its structured content; failures are marked."""
    texts = [_mcp_part(part) for part in value.get("content") or []]
    if not texts and value.get("structuredContent") is not None:
        texts = [spelled(value["structuredContent"])]
    return failed("\n".join(texts)) if value.get("isError") else (readable("\n".join(texts)),)


def failed(text: str) -> tuple[str, ...]:
    """How a failure is written."""
    marked = f"Error: {readable(text)}"
    return (marked, readable(text)) if text.lstrip().lower().startswith("error") else (marked,)


def _mcp_part(part: Any) -> str:
    if part["type"] == "text":
        return str(part.get("text", ""))
    if part["type"] == "resource_link":
        return str(part.get("uri", ""))
    held = part.get("resource", part) if part["type"] == "resource" else part
    if isinstance(held.get("text"), str):
        return str(held["text"])
    return f"[{part['type']}: {held.get('mimeType') or 'of unknown type'}]"


def result_of(value: Any, *, from_mcp: bool = False) -> tuple[str, ...]:
    """A tool's answer in every spelling that is right: JSON stays JSON, only what is surely MCP's becomes text."""
    inner = value
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return (readable(value),)
        try:
            inner = exact(value)
        except Unclear:
            return (readable(value),)
    if is_mcp(inner):
        return mcp_text(inner) if from_mcp else (*mcp_text(inner), readable(value if value is not inner else ""))
    if isinstance(value, str):
        return (readable(value),)
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        if all(part["type"] == "text" for part in value):  # a chat's parts are one text, MCP's are lines
            texts = [str(part.get("text", part.get("value", ""))) for part in value]
            return tuple(readable(joint.join(texts)) for joint in ("\n", ""))
        if all(part["type"] in _MCP_PARTS for part in value):
            return mcp_text({"content": value})
    return ("",) if value is None else (spelled(value),)
