"""Calls against the schemas of their tools: jsonschema's verdict, but bounded work whatever the schema holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.convert import bounded_schemas
from lfwrap.data.convert.linear_patterns import linear_pattern
from lfwrap.data.convert.schema_check import argument_problems, schema_problem


def rules(schema: Mapping[str, Any] | str, arguments: Any) -> list[str]:
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return [rule for rule, _ in argument_problems(text, arguments)]


def of(**schema: Any) -> dict[str, Any]:
    return {"properties": {"a": schema}}


LONG = "a" * 200_000 + "!"
RUNAWAYS = ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "^([a-z]+)*[0-9]$", "^(.*)*x$", "(.*a){20}b", r"^(\w+\s?)*$"]


@pytest.mark.parametrize("pattern", RUNAWAYS)
@pytest.mark.parametrize(
    "draft", ["", "http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-04/schema#"]
)
def test_no_pattern_runs_away(pattern: str, draft: str) -> None:
    whole = {"$schema": draft} if draft else {}
    assert rules({**whole, **of(type="string", pattern=pattern)}, {"a": LONG}) == ["arguments-schema"]
    inner = {"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": pattern}
    assert rules({**whole, **of(**inner)}, {"a": LONG}) == ["arguments-schema"]
    named = {**whole, "patternProperties": {pattern: {"type": "integer"}}, "additionalProperties": False}
    assert rules(named, {LONG: 1}) == ["arguments-schema"]
    assert rules({**whole, **of(propertyNames={"pattern": pattern})}, {"a": {LONG: 1}}) in (["arguments-schema"], [])
    assert rules({**of(unevaluatedProperties=False), "patternProperties": {pattern: True}}, {"a": {LONG: 1}})


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("^(?=.*[0-9]).{8,}$", "it looks around"),
        ("(?<!a)b", "it looks around"),
        (r"^(a)\1$", "invalid escape"),
        ("^.{0,5000}$", "invalid repetition"),
        ("x" * 10_001, "10,001 characters"),
    ],
)
def test_a_pattern_that_cant_be_searched_in_linear_time_is_passed_over_by_name(pattern: str, reason: str) -> None:
    [(rule, message)] = argument_problems(json.dumps(of(pattern=pattern)), {"a": "text"})
    assert rule == "pattern-unchecked"
    assert pattern[:5] in message
    assert reason in message or "x" in pattern
    assert rules(of(**{"not": {"pattern": pattern}}), {"a": "text"}) == ["pattern-unchecked"]
    assert rules(of(oneOf=[{"pattern": pattern}, {"pattern": "^t"}]), {"a": "text"}) == ["pattern-unchecked"]
    assert rules({**of(pattern=pattern), "required": ["b"]}, {"a": "text"}) == ["missing-argument", "pattern-unchecked"]
    extra = {"patternProperties": {pattern: {"type": "string"}}, "additionalProperties": False}
    assert rules(extra, {"name": 1}) == ["pattern-unchecked"]


def test_what_is_no_regular_expression_is_no_schema() -> None:
    for pattern in ("(", "[a", "a{2,1}", "*"):
        assert "is not a 'regex'" in schema_problem(json.dumps(of(pattern=pattern)))
        assert schema_problem(json.dumps({"patternProperties": {pattern: {}}}))
        assert rules(of(pattern=pattern), {"a": "x"}) == []


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"^\u5317\u4eac$", "北京", True),
        (r"^[\u4e00-\u9fff]+$", "北京x", False),
        (r"\\u0041", "\\u0041", True),
        (r"^\p{L}+$", "Straße", True),
        ("^a$", "a\n", False),
        ("b", "abc", True),
        (r"^[\w.-]+@[\w-]+\.\w+$", "a.b@c.de", True),
        (r"^\d{4}-\d{2}$", "2026-03", True),
        ("", "", True),
    ],
)
def test_patterns_mean_what_json_schema_says(pattern: str, text: str, found: bool) -> None:
    known = linear_pattern(pattern)
    assert (known.reason, known.search(text)) == ("", found)


def doubling(depth: int, keyword: str) -> dict[str, Any]:
    """References that double at each level."""
    levels = {f"l{n}": {keyword: [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(depth)}
    return {"$defs": {**levels, f"l{depth}": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/l0"}}}


def deep(depth: int) -> str:
    return '{"properties":{"a":' * depth + "{}" + "}}" * depth


def deep_value(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


MIXED = [{"n": n} if n % 2 else n for n in range(60_000)]
HOSTILE: dict[str, tuple[Any, Any]] = {
    "a loop": (of(**{"$ref": "#/properties/a"}), {"a": 1}),
    "two loops": ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {"a": 1}),
    "a loop by name": ({"$id": "x:y", "anyOf": [{"$ref": "x:y"}, {"$ref": "x:y"}]}, {"a": 1}),
    "doubled allOf": (doubling(40, "allOf"), {"a": "x"}),
    "doubled anyOf": (doubling(40, "anyOf"), {"a": 1}),
    "doubled oneOf": (doubling(40, "oneOf"), {"a": 1}),
    "doubled and unevaluated": ({**doubling(40, "anyOf"), "unevaluatedProperties": False}, {"a": 1, "b": 2}),
    "a deep schema": (deep(5_000), deep_value(50)),
    "a schema that is just too deep": (deep(300), deep_value(299)),
    "deep arguments": ({"properties": {"a": {"$ref": "#"}}, "additionalProperties": False}, deep_value(900)),
    "many values": (of(enum=list(range(100_000))), {"a": "x"}),
    "many mixed values": (of(enum=MIXED), {"a": "x"}),
    "a long list": (of(items={"enum": list(range(2_000))}), {"a": ["x"] * 50_000}),
    "a long list of objects that differ": (of(uniqueItems=True), {"a": MIXED}),
    "a long list of lists": (
        of(uniqueItems=True, items={"uniqueItems": True}),
        {"a": [[n, {}, "x"] for n in range(20_000)]},
    ),
    "contains": (of(contains={"contains": {"contains": {"const": 1}}}), {"a": [[[0] * 100] * 100] * 100}),
    "alternatives of alternatives": (
        of(items={"anyOf": [{"anyOf": [{"const": n * 100 + m} for m in range(100)]} for n in range(100)]}),
        {"a": [-1] * 1_000},
    ),
    "a tiny step": (of(multipleOf=5e-324), {"a": 1e300}),
    "a tiny step of a large number": (of(multipleOf=1e-300), {"a": 10**400}),
    "a number that is too large": (of(multipleOf=0.1), {"a": 10**400}),
    "no object": ([], {"a": 1}),
    "an unknown draft": ({"$schema": "x:none", "type": "object"}, {"a": 1}),
    "a draft that is no text": ({"$schema": ["x"], **of(type="string")}, {"a": 1}),
    "an address": (of(**{"$ref": "http://127.0.0.1:9/x"}), {"a": 1}),
    "a reference that is no text": (of(**{"$ref": 5}), {"a": 1}),
    "a reference to nothing": (of(**{"$ref": "#/$defs/none"}), {"a": 1}),
    "an anchor to nothing": (of(**{"$dynamicRef": "#none"}), {"a": 1}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_schema_keeps_the_check_from_ending(case: str) -> None:
    schema, arguments = HOSTILE[case]
    text = schema if isinstance(schema, str) else json.dumps(schema)
    problem = schema_problem(text)
    found = rules(text, arguments)
    assert set(found) <= {"arguments-schema", "tool-schema", "schema-too-costly", "pattern-unchecked"}
    assert isinstance(problem, str)


def test_a_schema_that_was_too_costly_three_times_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({**doubling(40, "allOf"), "title": "tried"})
    assert [rules(text, {"a": "x"}) for _ in range(3)] == [["schema-too-costly"]] * 3
    monkeypatch.setattr(bounded_schemas, "errors_within", None)
    assert rules(text, {"a": "x"}) == ["schema-too-costly"]


def test_a_schema_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(of(type="integer", title="once"))
    assert rules(text, {"a": "x"}) == ["arguments-schema"]
    monkeypatch.setattr(json, "loads", None)
    assert rules(text, {"a": 2}) == []


def test_errors_are_not_listed_without_end() -> None:
    assert len(rules(of(items={"type": "string"}), {"a": [1] * 1_000})) == 50


NAMES = st.sampled_from(["a", "b", "ab", "type", "x1", ""])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -2.0, "a", "b", "ab", "1", ""])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)
PATTERNS = st.sampled_from(["^a", "b$", "a|b", "^[a-b]*$", "[0-9]", "^$", "x?1", "(a+)+"])
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"])


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "enum": st.lists(VALUES, min_size=1, max_size=3),
            "const": VALUES,
            "pattern": PATTERNS,
            "minLength": st.integers(0, 3),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "maximum": st.integers(-3, 3),
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "propertyNames": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
            "items": inner,
            "uniqueItems": st.booleans(),
            "contains": inner,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "$schema": st.just("https://json-schema.org/draft/2020-12/schema"),
        },
    )


SCHEMAS = st.recursive(schemas(st.booleans()), lambda inner: schemas(inner | st.booleans()), max_leaves=6)


@given(schema=SCHEMAS, arguments=st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_verdict_is_jsonschemas(schema: Any, arguments: dict[str, Any]) -> None:
    wanted = sorted(error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(arguments))
    assert schema_problem(json.dumps(schema)) == ""
    found = argument_problems(json.dumps(schema), arguments)
    assert len(found) == len(wanted)


def without_patterns(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in schema.items() if name != "patternProperties"}


def alternatives(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=2)
    return st.fixed_dictionaries({"anyOf": some}, optional={"allOf": some, "if": inner, "else": inner})


UNEVALUATED = st.recursive(schemas(st.booleans()).map(without_patterns), alternatives, max_leaves=4)


@given(schema=UNEVALUATED, arguments=st.dictionaries(NAMES, VALUES, max_size=4))
def test_the_verdict_on_what_is_not_evaluated_is_jsonschemas(schema: Any, arguments: dict[str, Any]) -> None:
    whole = {**schema, "unevaluatedProperties": False}
    wanted = list(jsonschema.Draft202012Validator(whole).iter_errors(arguments))
    assert len(argument_problems(json.dumps(whole), arguments)) == len(wanted)


@given(value=st.dictionaries(st.sampled_from(["type", "properties", "items", "required", "$ref", "pattern"]), VALUES))
def test_whether_it_is_a_schema_is_jsonschemas_verdict(value: dict[str, Any]) -> None:
    try:
        jsonschema.Draft202012Validator.check_schema(value)
    except jsonschema.SchemaError:
        assert schema_problem(json.dumps(value))
    else:
        assert schema_problem(json.dumps(value)) == ""
