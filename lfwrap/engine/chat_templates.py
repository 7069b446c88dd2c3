"""What each chat template of the engine can say about tools: measured with the engine, shipped as a table."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lfwrap.engine.compat import TABLES
from lfwrap.errors import UsageError
from lfwrap.suggest import did_you_mean


class Saying(StrEnum):
    """What becomes of something that a row says."""

    READ_BACK = "read back"
    UNREAD = "unread"
    IMPOSSIBLE = "impossible"


class ObservationStyle(StrEnum):
    """How the results of one turn stand in one observation."""

    JOIN = "join"
    JSON_ARRAY = "json array"
    JSON_VALUE = "json value"


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """One template, as ``lfwrap/worker/template_facts.py`` found it in the engine.

    Attributes:
        name: the template's name, empty for the safe default.
        family: the engine's name for its way of writing calls.
        observation: how results are written.
        parallel_calls: what becomes of several calls in one turn.
        text_beside_call: what becomes of a call with text before it.
        thought_beside_call: what becomes of a call after a thought.
        dotted_names: what becomes of tool names with ``-`` or ``.``.
        text_figures: what becomes of an argument that is text but looks like a number.
        reasoning: whether it writes an empty thought where a turn has none.
        thought_words: what stands around a thought.
        call_words: what stands around a call beside text, in the data.
        media: the kinds of media whose placeholders it counts.
        special_tokens: texts that a tokenizer takes for one control token.
    """

    name: str
    family: str
    observation: ObservationStyle
    parallel_calls: Saying
    text_beside_call: Saying
    thought_beside_call: Saying
    dotted_names: Saying
    text_figures: Saying
    reasoning: bool
    thought_words: tuple[str, str]
    call_words: tuple[str, str]
    media: tuple[str, ...]
    special_tokens: tuple[str, ...]


# For rows that are written before the template is known: what most templates share, and never a crash.
ANY_TEMPLATE = TemplateFacts(
    name="",
    family="default",
    observation=ObservationStyle.JSON_ARRAY,
    parallel_calls=Saying.READ_BACK,
    text_beside_call=Saying.READ_BACK,
    thought_beside_call=Saying.READ_BACK,
    dotted_names=Saying.READ_BACK,
    text_figures=Saying.READ_BACK,
    reasoning=False,
    thought_words=("<think>\n", "\n</think>\n\n"),
    call_words=("<tool_call>", "</tool_call>"),
    media=(),
    special_tokens=("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>"),
)


@functools.cache
def load_table() -> Mapping[str, Any]:
    """The shipped table: ``engine`` (a version) and ``templates`` (name → facts)."""
    table: dict[str, Any] = json.loads((TABLES / "tool_templates.json").read_bytes())
    return table


@functools.lru_cache(maxsize=256)
def template_facts(name: str) -> TemplateFacts:
    """What a template can say; for an empty name what most can.

    Raises:
        UsageError: the engine has no such template.
    """
    if not name:
        return ANY_TEMPLATE
    templates = load_table()["templates"]
    if name not in templates:
        hint = did_you_mean(name, templates, otherwise="`lfwrap recipe schema` lists all templates.")
        raise UsageError(f"template {name}: LLaMA-Factory {load_table()['engine']} has none of this name", hint=hint)
    row = templates[name]
    return TemplateFacts(
        name=name,
        family=row["family"],
        observation=ObservationStyle(row["observation"]),
        parallel_calls=Saying(row["parallel_calls"]),
        text_beside_call=Saying(row["text_beside_call"]),
        thought_beside_call=Saying(row["thought_beside_call"]),
        dotted_names=Saying(row["dotted_names"]),
        text_figures=Saying(row["text_figures"]),
        reasoning=row["reasoning"],
        thought_words=(row["thought_words"][0], row["thought_words"][1]),
        call_words=(row["tool_call_words"][0], row["tool_call_words"][1]),
        media=tuple(row["media"]),
        special_tokens=tuple(row["special_tokens"]),
    )
