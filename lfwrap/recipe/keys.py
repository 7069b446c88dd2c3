"""Checks of each key of a recipe by itself: whether it is known, of the right type, and one of the choices."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from lfwrap.engine.facts import EngineFacts, KeyFact
from lfwrap.errors import Finding
from lfwrap.recipe.intent import BLOCK, FIELD_NAMES
from lfwrap.recipe.recipe import Recipe, Source, quoted_override
from lfwrap.suggest import did_you_mean
from lfwrap.yaml_files import dump_yaml

_NUMBER = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$")
_YES_NO = {"yes": True, "on": True, "true": True, "y": True, "no": False, "off": False, "false": False, "n": False}

# Keys of older versions of the engine and of similar tools, and the keys that have replaced them.
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "max_seq_length": "cutoff_len",
    "max_seq_len": "cutoff_len",
    "max_length_tokens": "cutoff_len",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_target",
    "target_modules": "lora_target",
    "load_in_4bit": "quantization_bit: 4",
    "load_in_8bit": "quantization_bit: 8",
    "batch_size": "per_device_train_batch_size",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "model_name": "model_name_or_path",
    "model_id": "model_name_or_path",
    "dataset_name": "dataset",
    "data_path": "dataset",
    "group_by_length": "train_sampling_strategy: group_by_length",
    "neftune_alpha": "neftune_noise_alpha",
}


def place(recipe: Recipe, *path: str, of_value: bool = False) -> dict[str, Any]:
    """The place of a key (or its value) as keyword arguments of a Finding; the command line has no line numbers."""
    if recipe.sources.get(path[0]) is Source.COMMAND_LINE or ".".join(path) in recipe.overrides:
        return {"file": "command line"}
    if recipe.sources.get(path[0]) is Source.MODEL_PATH:
        return {"file": str(Source.MODEL_PATH)}
    document = recipe.document
    position = document.value_position(*path) if of_value else document.key_position(*path)
    if position is None:
        return {"file": document.name}
    return {"file": document.name, "line": position.line, "column": position.column}


def check_intent(recipe: Recipe) -> Iterator[Finding]:
    """Findings about the ``lfwrap:`` block of a recipe."""
    for problem in recipe.intent_problems:
        path = (BLOCK,) if problem.key is None else (BLOCK, problem.key)
        where = place(recipe, *path, of_value=problem.rule != "unknown-key")
        yield Finding(problem.rule, problem.message, hint=problem.hint, **where)


def check_keys(recipe: Recipe, facts: EngineFacts) -> Iterator[Finding]:
    """Findings about unknown keys, wrong types, and values that are not among the choices."""
    for key, value in recipe.engine_values.items():
        fact = facts.keys.get(key)
        if fact is None:
            yield _unknown_key(recipe, key, facts)
        else:
            finding = _wrong_value(recipe, fact, value)
            if finding is not None:
                yield finding


def of_right_types(recipe: Recipe, facts: EngineFacts) -> Recipe:
    """The recipe without the values that `check_keys` finds wrong: what reads it further needn't look at types.

    Args:
        recipe: the recipe; its findings are told, and end the command.
        facts: the engine's keys.
    """
    wrong = {
        key
        for key, value in recipe.engine_values.items()
        if key in facts.keys and _wrong_value(recipe, facts.keys[key], value) is not None
    }
    if not wrong:
        return recipe
    values = {key: value for key, value in recipe.engine_values.items() if key not in wrong}
    sources = {key: source for key, source in recipe.sources.items() if key not in wrong}
    return dataclasses.replace(recipe, engine_values=values, sources=sources)


def _unknown_key(recipe: Recipe, key: str, facts: EngineFacts) -> Finding:
    if key in RENAMED:
        hint = f"Here it is '{RENAMED[key]}'."
    elif key in FIELD_NAMES:
        hint = f"It belongs in the {BLOCK}: block."
    else:
        hint = did_you_mean(key, facts.keys, otherwise="`lfwrap recipe schema` lists all keys.")
    return Finding("unknown-key", f"{key}: unknown key.", hint=hint, **place(recipe, key))


def _wrong_value(recipe: Recipe, fact: KeyFact, value: Any) -> Finding | None:
    where = place(recipe, fact.name, of_value=True)
    if value is None:
        if "null" in fact.types:
            return None
        hint = f"Leave the key out for LLaMA-Factory's default, {show(fact.default)}."
        return Finding("wrong-type", f"{fact.name}: empty, expected {fact.type}.", hint=hint, **where)
    if not has_type(value, fact.types):
        message = f"{fact.name}: {_describe(value)}, expected {fact.type}."
        is_typed = recipe.sources.get(fact.name) is Source.COMMAND_LINE
        return Finding("wrong-type", message, hint=_type_hint(fact, value, is_typed=is_typed), **where)
    if isinstance(value, float) and not math.isfinite(value):
        return Finding(
            "wrong-type", f"{fact.name}: {value} is not a finite number.", hint="Write a finite number.", **where
        )
    if fact.choices and isinstance(value, str) and value not in fact.choices:
        choices = [str(choice) for choice in fact.choices]
        hint = did_you_mean(value, choices, otherwise=f"It takes {', '.join(choices)}.")
        return Finding("bad-choice", f"{fact.name}: {value!r} is not known.", hint=hint, **where)
    return None


def has_type(value: Any, types: tuple[str, ...]) -> bool:
    """Whether a YAML value has one of the types; a whole number is also a float, a truth value is only a bool.

    Example:
        >>> has_type(1, ("float",)), has_type(True, ("int",))
        (True, False)
    """
    if isinstance(value, bool):
        return "bool" in types
    if isinstance(value, int):
        return "int" in types or "float" in types
    return type(value).__name__ in types


def show(value: Any) -> str:
    """A value as YAML writes it, on one line.

    Example:
        >>> show(True), show("no"), show(1e-4), show([1, 2])
        ('true', '"no"', '0.0001', '[1, 2]')
    """
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return dump_yaml({"v": value}).removeprefix("v:").strip()


def _describe(value: Any) -> str:
    names = {str: "text", int: "number", float: "number", bool: "truth value", list: "list", dict: "mapping"}
    text = show(value) if not isinstance(value, str) else repr(value)
    return f"{names.get(type(value), type(value).__name__)} {text}"


def _type_hint(fact: KeyFact, value: Any, *, is_typed: bool) -> str:
    """The hint how to write what was most likely meant; ``is_typed`` on the command line, where quotes get lost."""
    if isinstance(value, str) and {"int", "float"} & set(fact.types) and _NUMBER.match(value.strip()):
        number = float(value)
        whole = "float" not in fact.types and number.is_integer()
        return f"Write {show(int(number) if whole else number)}, without quotes."
    if value is False and "no" in fact.choices:
        return f"Write {fact.name}=no." if is_typed else 'Write "no", with its quotes: YAML reads no as false.'
    if isinstance(value, str) and "bool" in fact.types and value.strip().lower() in _YES_NO:
        return f"Write {show(_YES_NO[value.strip().lower()])}, without quotes."
    if isinstance(value, float) and value.is_integer() and "int" in fact.types:
        return f"Write {int(value)}."
    if isinstance(value, int | float) and not isinstance(value, bool) and "str" in fact.types:
        return f"Quote it: {quoted_override(fact.name, str(value)) if is_typed else repr(str(value))}."
    if isinstance(value, list) and "str" in fact.types and all(isinstance(part, str) for part in value):
        return f"Write one text with commas: {','.join(value)}"
    if fact.choices:
        return f"It takes {', '.join(map(str, fact.choices))}."
    return f"For example {show(fact.default)}." if fact.default is not None else fact.help
