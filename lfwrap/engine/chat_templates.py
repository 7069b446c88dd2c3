"""The chat templates of the engine: what each can say about tools, and the tokens that it writes around texts.

Measured with the engine, shipped as two tables, each of which is read when something of it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from lfwrap.engine.compat import SUPPORTED_VERSION, TABLES
from lfwrap.engine.joined_turns import JOINED_TURNS, JoinedTurn
from lfwrap.engine.template_tokens import TemplateTokens, template_tokens
from lfwrap.errors import UsageError
from lfwrap.suggest import did_you_mean


class Saying(StrEnum):
    """Whether a template can write a part of a row, and whether its own parser reads that back."""

    READ_BACK = "read back"
    UNREAD = "unread"
    IMPOSSIBLE = "impossible"


class ObservationStyle(StrEnum):
    """How a template writes the results of one turn into one observation."""

    JOIN = "join"
    JSON_ARRAY = "json array"
    JSON_VALUE = "json value"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """One template of the engine, as the tables have it.

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
        user_after_result: the one turn that holds a result and the user's words after it; None where none can.
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
    user_after_result: JoinedTurn | None = None

    def added_tokens(self, count: Callable[[str], int]) -> TemplateTokens | None:
        """Tokens that the template adds to a row's own texts; None for the safe default, which adds nobody knows what.

        Args:
            count: tokens of a text.
        """
        return template_tokens(self.name, count) if self.name else None


# For rows that are written before the template is known: what most templates share, and never a crash.
ANY_TEMPLATE = ChatTemplate(
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


_ENGINE_ROLES = {"human": "user", "observation": "observation"}


@functools.cache
def _table() -> Mapping[str, Any]:
    """Template → what it can say."""
    templates: dict[str, Any] = orjson.loads((TABLES / "tool_templates.json").read_bytes())["templates"]
    return templates


def chat_template_names() -> tuple[str, ...]:
    """The names of the engine's templates."""
    return tuple(_table())


@functools.lru_cache(maxsize=256)
def chat_template(name: str) -> ChatTemplate:
    r"""A template by its name; for an empty name the safe default.

    Raises:
        UsageError: the engine has no such template.

    >>> chat_template("qwen").observation.value, chat_template("qwen").thought_words
    ('join', ('<think>\n', '\n</think>\n\n'))
    """
    if not name:
        return ANY_TEMPLATE
    row = _table().get(name)
    if row is None:
        raise no_such_template(name, SUPPORTED_VERSION, _table())
    return ChatTemplate(
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
        user_after_result=JOINED_TURNS.get(name),
    )


def after_result(template: object) -> tuple[str, str, str] | None:
    r"""How a template has a user's words right after a tool's result, as workers take it; None where it can't.

    Returns:
        The engine's role of the one turn that holds both, what stands before the result, and what between the two.

    >>> after_result("glm4"), after_result("mistral")
    (('observation', '', '<|user|>\n'), None)
    """
    form = JOINED_TURNS.get(template) if isinstance(template, str) else None
    return (_ENGINE_ROLES[form.speaker], form.opening, form.between) if form else None


def no_such_template(name: str, version: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not one of the engine's templates.

    Args:
        name: what was named.
        version: the engine's.
        known: the names of its templates.
    """
    hint = did_you_mean(name, known, otherwise="`lfwrap recipe schema` lists all templates.")
    return UsageError(f"template {name}: LLaMA-Factory {version} has no template of this name", hint=hint)
