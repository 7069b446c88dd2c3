"""ShareGPT: from/value turns, as LLaMA-Factory describes them (``function_call`` and ``observation`` are its own)."""

from __future__ import annotations

import json
import re
from typing import Any

from second_reader.parts import calls_in, has_blocks, result_of, role_of, text_of, thought_apart
from second_reader.said import Talk, Told, Unclear
from second_reader.schemas import tools_of
from second_reader.values import readable, spelled

_JOINT = "\n</tool_response>\n<tool_response>\n"
_TAGS = re.compile(r"^\s*<tool_response>\s*(.*?)\s*</tool_response>\s*$", re.DOTALL)


def told(record: dict[str, Any]) -> Told:
    """A record with conversations."""
    turns = next((record[key] for key in ("conversations", "conversation", "messages") if key in record), None)
    if not isinstance(turns, list):
        raise Unclear("no turns")
    tools = tools_of(record.get("tools"))
    talk = Talk()
    for turn in turns:
        role, text = role_of(turn.get("from")), text_of(turn.get("value"))
        if role == "system":
            talk.system(text)
        elif role == "user":
            talk.user(text)
        elif role == "result":
            _take_results(talk, text)
        else:
            thought, said = thought_apart(text)
            in_blocks = role == "assistant" and bool(tools) and has_blocks(said)
            said, calls = calls_in(said) if role == "call" or in_blocks else (said, [])
            talk.assistant(said, thought, calls)
    return talk.told(tools, text_of(record.get("system") or ""))


def _take_results(talk: Talk, text: str) -> None:
    """One observation: of one call, or of several in either of the ways in which the engine's templates have them."""
    tags = _TAGS.match(text)
    text = tags[1] if tags else text
    count = len(talk.turns[-1].calls) if talk.turns else 0
    pieces = text.split(_JOINT)
    if count > 1 and len(pieces) == count:
        for piece in pieces:
            talk.result(result_of(piece))
        return
    listed = _listed(text)
    if count > 1 and len(listed) == count:
        for value in listed:
            content = value["content"]
            talk.result((readable(content if isinstance(content, str) else spelled(content)),), name=str(value["name"]))
        return
    talk.result(result_of(text))


def _listed(text: str) -> list[Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return []
    is_listed = isinstance(values, list) and all(
        isinstance(value, dict) and set(value) == {"name", "content"} for value in values
    )
    return values if is_listed else []
