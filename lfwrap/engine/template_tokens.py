"""What the engine's chat templates write around a row's texts, from a table that ships with lfwrap."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lfwrap.engine.compat import TABLES

_TABLE = TABLES / "template_tokens.json"
_ROLES = {"human": "user", "gpt": "assistant", "observation": "observation", "function_call": "call"}
# Of JSON and XML marks, counted with the tokenizers of Qwen and SmolLM2.
_MARK_CHARACTERS_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class TemplateTokens:
    """Numbers of tokens that a template adds to the texts of a row.

    Attributes:
        row: to every row.
        default_system: to a row without a system prompt.
        system: to a row with a system prompt or tools, besides their own.
        tools: to a row with tools.
        tool: to every tool.
        turns: to a turn, by the name of its speaker in ShareGPT's rows.
        answered: to every answer without a thought.
    """

    row: int
    default_system: int
    system: int
    tools: int
    tool: int
    turns: Mapping[str, int]
    answered: int

    def of_row(self, row: Mapping[str, Any]) -> int:
        """Tokens that the template adds to one of ShareGPT's rows.

        >>> turns = {"human": 4, "gpt": 5}
        >>> added = TemplateTokens(row=1, default_system=0, system=3, tools=9, tool=2, turns=turns, answered=0)
        >>> added.of_row({"system": "Be brief.", "tools": "", "conversations": [{"from": "human"}, {"from": "gpt"}]})
        13
        """
        tools = row["tools"].count('"name"') if row["tools"] else 0
        added = self.row + sum(self.turns.get(turn["from"], 0) for turn in row["conversations"])
        if not row["system"]:
            added += self.default_system
        if tools:
            added += self.tools + tools * self.tool
        if row["system"] or tools or self.default_system:
            added += self.system
        answers = sum(turn["from"] in {"gpt", "function_call"} for turn in row["conversations"])
        return added + answers * self.answered


@functools.cache
def _table() -> Mapping[str, Any]:
    """Template → the pieces of text that it writes."""
    templates: dict[str, Any] = orjson.loads(_TABLE.read_bytes())["templates"]
    return templates


def template_tokens(template: str, count: Callable[[str], int]) -> TemplateTokens | None:
    """Tokens that a template adds; None for one that the engine does not have.

    Args:
        template: the engine's name for it.
        count: tokens of a text.
    """
    found = _table().get(template)
    if found is None:
        return None

    def size(piece: Mapping[str, Any]) -> int:
        """The tokens of one piece of a template, estimated."""
        marks = -(-int(piece.get("extra_characters", 0)) // _MARK_CHARACTERS_PER_TOKEN)
        return sum(map(count, piece["texts"])) + int(piece.get("tokens", 0)) + marks

    return TemplateTokens(
        row=size(found["prefix"]) + int(found["end_tokens"]),
        default_system=count(found["default_system"]) if found["default_system"] else 0,
        system=size(found["system"]),
        tools=size(found["tools"]),
        tool=-(-int(found["tools"]["each_characters"]) // _MARK_CHARACTERS_PER_TOKEN),
        turns={speaker: size(found[role]) for speaker, role in _ROLES.items()},
        answered=count(found["thought"]) if found["thought"] else 0,
    )
