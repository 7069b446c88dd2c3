"""BFCL's rule, argument by argument."""

from __future__ import annotations

import pytest

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.tool_calls.bfcl_match import AcceptedCall, fault_of, keys_fit


def accepted(schema: dict, values: list, *, required: bool = True) -> AcceptedCall:
    parameters = {"type": "dict", "properties": {"x": schema}, "required": ["x"] if required else []}
    return AcceptedCall("f", parameters, {"x": values})


STRINGS = {"type": "array", "items": {"type": "string"}}
ROWS = {"type": "array", "items": {"type": "dict"}}


@pytest.mark.parametrize(
    ("schema", "values", "value", "fault"),
    [
        ({"type": "string"}, ["New York, NY"], "new york ny", ""),
        ({"type": "string"}, ["New York"], "Boston", "wrong-value: x"),
        ({"type": "string"}, ["5"], 5, "wrong-type: x"),
        ({"type": "integer"}, [5], 5, ""),
        ({"type": "integer"}, [5], 5.0, "wrong-type: x"),
        ({"type": "integer"}, [1], True, "wrong-type: x"),
        ({"type": "integer"}, ["n"], "n", ""),
        ({"type": "integer"}, ["n"], "m", "wrong-value: x"),
        ({"type": "float"}, [5.0, 5.5], 5, ""),
        ({"type": "float"}, [5.5], 5.4, "wrong-value: x"),
        ({"type": "boolean"}, [True], True, ""),
        ({"type": "boolean"}, [True], "true", "wrong-type: x"),
        (STRINGS, [["a", "B"]], ["A", "b"], ""),
        (STRINGS, [["a", "b"]], ["b", "a"], "wrong-value: x"),
        (STRINGS, [["a", "b"]], ["a"], "wrong-value: x"),
        (STRINGS, [["a"]], [1], "wrong-value: x"),
        (STRINGS, [["a"]], "a", "wrong-type: x"),
        ({"type": "dict"}, [{"k": [1, 2], "l": ["", "z"]}], {"k": 2}, ""),
        ({"type": "dict"}, [{"k": [1, 2]}], {"k": 3}, "wrong-value: x"),
        ({"type": "dict"}, [{"k": [1]}], {}, "wrong-value: x"),
        ({"type": "dict"}, [{"k": [1]}], {"k": 1, "m": 1}, "wrong-value: x"),
        (ROWS, [[{"k": [1]}, {"k": [2]}]], [{"k": 1}, {"k": 2}], ""),
        (ROWS, [[{"k": [1]}, {"k": [2]}]], [{"k": 1}], "wrong-value: x"),
    ],
)
def test_values(schema, values, value, fault):
    assert fault_of([ToolCall("f", {"x": value})], accepted(schema, values)) == fault


@pytest.mark.parametrize(
    ("calls", "required", "values", "fault"),
    [
        ([], True, [1], "wrong-count: 0 calls, 1 expected"),
        ([ToolCall("f", {"x": 1})] * 2, True, [1], "wrong-count: 2 calls, 1 expected"),
        ([ToolCall("g", {"x": 1})], True, [1], "wrong-name: g"),
        ([ToolCall("f", {})], True, [1], "missing-required: x"),
        ([ToolCall("f", {})], False, [1], "missing-argument: x"),
        ([ToolCall("f", {})], False, [1, ""], ""),
        ([ToolCall("f", {"x": 1, "y": 2})], True, [1], "unexpected-argument: y"),
    ],
)
def test_calls_and_keys(calls, required, values, fault):
    rule = accepted({"type": "integer"}, values, required=required)
    assert fault_of(calls, rule) == fault
    assert keys_fit(calls, rule) is (not fault)
