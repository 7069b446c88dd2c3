"""Quick acceptance says yes only where jsonschema finds nothing, and says it of what is plain."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.convert.plain_schemas import acceptor

KIND = jsonschema.Draft202012Validator
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])
NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, 1.0, 2.5])
    | st.sampled_from(["", "x", "xyz"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "minimum": st.integers(-2, 2),
            "maximum": st.integers(-2, 2),
            "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "description": st.just("text"),
            "format": st.just("email"),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "pattern": st.just("^x"),
        },
    )


@settings(max_examples=500, deadline=None)
@given(st.recursive(st.booleans() | schemas(st.booleans()), schemas, max_leaves=6), VALUES)
def test_what_is_accepted_has_no_errors(schema: Any, value: Any) -> None:
    accepts = acceptor(schema, KIND.VALIDATORS)
    assert accepts is None or not accepts(value) or KIND(schema).is_valid(value)


PLAIN = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "where", "minLength": 1},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 7},
        "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
        "near": {"type": "array", "items": {"type": "object", "properties": {"km": {"type": "number"}}}, "maxItems": 2},
    },
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("arguments", "accepted"),
    [
        ({"city": "Rome"}, True),
        ({"city": "Rome", "days": 3, "unit": "f", "near": [{"km": 1.5}, {}]}, True),
        ({"city": "Rome", "days": None}, True),
        ({"city": ""}, False),
        ({"days": 3}, False),
        ({"city": "Rome", "days": True}, False),
        ({"city": "Rome", "days": 8}, False),
        ({"city": "Rome", "unit": "k"}, False),
        ({"city": "Rome", "near": [{"km": "far"}]}, False),
        ({"city": "Rome", "other": 1}, False),
    ],
)
def test_arguments_of_a_plain_schema(arguments: dict[str, Any], accepted: bool) -> None:
    accepts = acceptor(PLAIN, KIND.VALIDATORS)
    assert accepts is not None
    assert accepts(arguments) is accepted is KIND(PLAIN).is_valid(arguments)


@pytest.mark.parametrize("schema", [{"$ref": "#/$defs/a"}, {"properties": {"a": {"pattern": "x"}}}, {"not": {}}, False])
def test_a_schema_that_is_not_plain_is_left_to_jsonschema(schema: Any) -> None:
    assert acceptor(schema, KIND.VALIDATORS) is None


def test_a_very_deep_schema_is_left_to_jsonschema() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"properties": {"a": schema}}
    assert acceptor(schema, KIND.VALIDATORS) is None
