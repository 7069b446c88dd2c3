"""OpenAI's chat: https://platform.openai.com/docs/api-reference/chat; also the parts of LLaMA-Factory's newer sets."""

from __future__ import annotations

from typing import Any

from second_reader.parts import call_of, calls_in, id_of, result_of, role_of, text_of, thought_apart
from second_reader.said import Call, Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import exact, spelled

KEYS = ("messages", "conversations", "conversation")


def told(record: dict[str, Any], *, from_mcp: bool = False) -> Told:
    """A record with messages."""
    messages = next((record[key] for key in KEYS if isinstance(record.get(key), list)), None)
    if not messages:
        raise Unclear("no messages")
    talk = Talk()
    for message in messages:
        if not isinstance(message, dict):
            raise Unclear("a message that is no object")
        take(talk, message, from_mcp=from_mcp)
    tools = tools_of(record.get("tools") or record.get("functions"))
    top = record.get("system") or ""
    return talk.told(tools, text_of(top))


def take(talk: Talk, message: dict[str, Any], *, from_mcp: bool = False) -> None:
    """One message."""
    role, content = role_of(message.get("role")), message.get("content")
    if role == "system":
        talk.system(text_of(content))
    elif role == "user":
        talk.user(text_of(content))
    elif role == "result":
        if isinstance(content, list):
            content = [{**part, "text": part.get("text", part.get("value"))} for part in content]
        name = message.get("name")
        talk.result(result_of(content, from_mcp=from_mcp), id_of(message.get("tool_call_id")), name or "")
    elif role == "call":
        held = content if isinstance(content, str) else spelled(content) if isinstance(content, dict) else ""
        text, calls = calls_in(held)
        talk.assistant(text, calls=calls)
    else:
        _take_assistant(talk, message, content)


def _take_assistant(talk: Talk, message: dict[str, Any], content: Any) -> None:
    thoughts = [message[key] for key in ("reasoning_content", "reasoning", "thinking") if message.get(key)][:1]
    calls: list[tuple[str, Call]] = []
    if isinstance(content, list):
        rest = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in ("reasoning", "thinking"):
                thoughts.append(part.get("text", part.get("value", part.get("thinking", ""))))
            elif kind == "tool_call":
                value = part.get("value", part)
                calls.append(("", call_of(exact(value) if isinstance(value, str) else value)))
            else:
                rest.append(part)
        content = rest
    text = text_of(content)
    channel = message.get("channel")
    if channel == "analysis":
        talk.assistant(thought=text)
        return
    if channel not in (None, "final") and (channel != "commentary" or "recipient" in message):
        raise Unclear(f"the channel {channel!r}")
    in_tags, text = thought_apart(text)
    if isinstance(message.get("tool_calls"), str):
        raise Unclear("calls that are text")
    modern = message.get("tool_calls") or []
    calls += [(id_of(call.get("id")), call_of(call)) for call in (modern if isinstance(modern, list) else [modern])]
    if message.get("function_call"):
        calls.append(("", call_of(message["function_call"])))
    talk.assistant(text, "\n".join([*thoughts, *([in_tags] if in_tags else [])]), calls)
