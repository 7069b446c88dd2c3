"""The JSON Schema of recipes for editors: names, types, choices and help of every key."""

from __future__ import annotations

from typing import Any

from lfwrap.engine.facts import EngineFacts, KeyFact
from lfwrap.recipe.intent import BLOCK, FIELDS, IntentField

_JSON_TYPES = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "str": "string",
    "dict": "object",
    "list": "array",
    "null": "null",
}


def recipe_schema(facts: EngineFacts) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of recipes for one version of the engine."""
    properties = {name: _engine_property(fact) for name, fact in facts.keys.items()}
    properties["template"]["anyOf"] = [{"enum": list(facts.templates)}, {"type": "null"}]
    del properties["template"]["type"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"lfwrap recipe for LLaMA-Factory {facts.version}",
        "type": "object",
        "properties": {BLOCK: _block(), **properties},
        "additionalProperties": False,
    }


def _block() -> dict[str, Any]:
    return {
        "description": "What you want, on any machine. Without this block lfwrap changes nothing in the recipe.",
        "type": ["object", "null"],
        "properties": {field.name: _intent_property(field) for field in FIELDS},
        "additionalProperties": False,
    }


def _intent_property(field: IntentField) -> dict[str, Any]:
    found: dict[str, Any] = {"description": field.help, "type": [*(_JSON_TYPES[name] for name in field.types), "null"]}
    if field.choices:
        found = {"description": field.help, "enum": [*field.choices, None]}
    if field.words:
        numbers = [_JSON_TYPES[name] for name in field.types if name != "str"]
        found = {"description": field.help, "anyOf": [{"type": [*numbers, "null"]}, {"enum": list(field.words)}]}
    if field.minimum is not None:
        found["minimum"] = field.minimum
    if field.maximum is not None:
        found["maximum"] = field.maximum
    return found


def _engine_property(fact: KeyFact) -> dict[str, Any]:
    found: dict[str, Any] = {"description": fact.help or fact.name}
    if fact.choices:
        found["enum"] = [*fact.choices, *([None] if "null" in fact.types else [])]
    else:
        types = [_JSON_TYPES[name] for name in fact.types]
        found["type"] = types[0] if len(types) == 1 else types
    if fact.default is not None:
        found["default"] = fact.default
    return found
