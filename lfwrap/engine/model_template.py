"""Which chat template a model or a run has, and where that is known from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from lfwrap.engine.chat_templates import chat_template, no_such_template

if TYPE_CHECKING:
    from lfwrap.engine.facts import EngineFacts

# Templates that differ only in how they treat thinking: one model may be tuned with either.
_THINKING_SUFFIX = re.compile(r"(_nothink|_no_think|_think)$")


class TemplateSource(StrEnum):
    """Where a template is known from, the strongest first."""

    STATED = "stated by the user"
    NOTED = "noted by lfwrap"
    MAPPED = "the engine's map of models"


@dataclass(frozen=True, slots=True)
class ModelTemplate:
    """The template of a model or a run.

    Attributes:
        name: the engine's name for it.
        source: where it is known from.
        model: the name under which the engine's map has the model; empty where the template is known from elsewhere.
    """

    name: str
    source: TemplateSource
    model: str = ""


def find_model_template(
    models: Iterable[str | None],
    facts: EngineFacts | None = None,
    *,
    stated: str | None = None,
    noted: Iterable[object] = (),
) -> ModelTemplate | None:
    """The template that the user states, else the first that lfwrap noted, else that of the engine's map of models.

    Nothing is read, and no name asked for, that an earlier answer makes needless.

    Args:
        models: the names of the model, hub ids or folders, the most reliable first.
        facts: the engine's; by default those of the shipped table.
        stated: what the user says.
        noted: what is written beside the model or in its run's record; a name that the engine does not have is passed
            over.

    Returns:
        None where it is not known.

    Raises:
        UsageError: the engine has no template of the stated name.

    >>> find_model_template(["/models/Qwen2.5-7B-Instruct"]).name
    'qwen'
    >>> find_model_template(["Qwen/Qwen2.5-7B-Instruct"], stated="llama3").source.value
    'stated by the user'
    """
    if stated:
        check_template(stated, facts)
        return ModelTemplate(stated, TemplateSource.STATED)
    if facts is None:
        from lfwrap.engine.facts import load_engine_facts

        facts = load_engine_facts()
    for name in noted:
        if isinstance(name, str) and name in facts.templates:
            return ModelTemplate(name, TemplateSource.NOTED)
    for model in models:
        name = facts.template_for(model) if model else None
        if model and name:
            return ModelTemplate(name, TemplateSource.MAPPED, model)
    return None


def check_template(name: str, facts: EngineFacts | None = None) -> None:
    """See that the engine has a template of this name.

    Args:
        name: the name; not empty.
        facts: the engine's; by default the shipped tables speak for it.

    Raises:
        UsageError: it has none; the hint names the nearest.
    """
    if facts is None:
        chat_template(name)
    elif name not in facts.templates:
        raise no_such_template(name, facts.version, facts.templates)


def suit_same_models(template: str, other: str) -> bool:
    """Whether two templates differ in nothing but how they treat thinking, so that a model may be tuned with either.

    >>> suit_same_models("qwen3", "qwen3_nothink")
    True
    >>> suit_same_models("qwen3", "qwen")
    False
    """
    return _THINKING_SUFFIX.sub("", template) == _THINKING_SUFFIX.sub("", other)
