"""Anthropic's messages: https://docs.anthropic.com/en/api/messages; MCP's sampling requests look like them."""

from __future__ import annotations

from typing import Any

from second_reader.parts import arguments_of as arguments
from second_reader.parts import failed, id_of, result_of, role_of, text_of, thought_apart
from second_reader.said import Call, Talk, Told, Unclear
from second_reader.schemas import tools_of


def told(record: dict[str, Any]) -> Told:
    """A record with messages of content blocks."""
    talk = Talk()
    for message in record["messages"]:
        content = message.get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": text_of(content)}]
        role = role_of(message.get("role"))
        if role == "user":
            _take_user(talk, blocks)
        elif role == "assistant":
            _take_assistant(talk, blocks)
        elif role == "system":
            talk.system(text_of(content))
        else:
            raise Unclear(f"the role {role}")
    top = record.get("system", record.get("systemPrompt"))
    return talk.told(tools_of(record.get("tools")), text_of(top))


def _take_user(talk: Talk, blocks: list[Any]) -> None:
    said = []
    for block in blocks:
        if block.get("type") == "tool_result":
            texts = result_of(block.get("content"))
            if block.get("is_error") or block.get("isError"):
                texts = tuple(marked for text in texts for marked in failed(text))
            talk.result(texts, id_of(block.get("tool_use_id", block.get("toolUseId"))))
        else:
            said.append(block)
    if said:
        talk.user(text_of(said))


def _take_assistant(talk: Talk, blocks: list[Any]) -> None:
    thoughts, said, calls = [], [], []
    for block in blocks:
        kind = block.get("type")
        if kind == "thinking":
            thoughts.append(block.get("thinking", ""))
        elif kind == "tool_use":
            if not isinstance(block.get("name"), str) or not block["name"]:
                raise Unclear("a call without a name")
            calls.append((id_of(block.get("id")), Call(block["name"], arguments(block.get("input")))))
        elif kind != "redacted_thinking":
            said.append(block)
    in_tags, text = thought_apart(text_of(said))
    talk.assistant(text, "\n".join(thoughts) or in_tags, calls)
