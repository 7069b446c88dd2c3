"""Tool, Param and AST, call by call."""

from __future__ import annotations

import pytest

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.tool_calls.matching import (
    ReadAnswer,
    Reading,
    freeze,
    judge_calls,
    read_leniently,
    read_strictly,
)

OFFERED = frozenset({"a", "b"})
A1, A2, B = ToolCall("a", {"n": 1, "s": "x"}), ToolCall("a", {"n": 2, "s": "x"}), ToolCall("b", {})


def found(*calls: ToolCall) -> ReadAnswer:
    return ReadAnswer(Reading.CALLS, calls)


@pytest.mark.parametrize(
    ("expected", "answer", "levels", "counts"),
    [
        ((A1,), found(A1), (True, True, True), (0, 0, 0)),
        ((A1,), found(ToolCall("a", {"s": "x", "n": 1.0})), (True, True, True), (0, 0, 0)),
        ((A1,), found(A2), (True, True, False), (0, 0, 0)),
        ((A1,), found(ToolCall("a", {"n": True, "s": "x"})), (True, True, False), (0, 0, 0)),
        ((A1,), found(ToolCall("a", {"n": 1})), (True, False, False), (0, 0, 0)),
        ((A1,), found(ToolCall("a", {"n": 1, "s": "x", "t": None})), (True, False, False), (0, 0, 0)),
        ((A1,), found(B), (False, False, False), (1, 1, 0)),
        ((A1,), found(ToolCall("c", {"n": 1, "s": "x"})), (False, False, False), (1, 1, 1)),
        ((A1,), found(A1, A1), (False, False, False), (0, 1, 0)),
        ((A1, A2), found(A2, A1), (True, True, True), (0, 0, 0)),
        ((A1, A2), found(A1, A1), (True, True, False), (0, 0, 0)),
        ((A1, A1), found(A1), (False, False, False), (1, 0, 0)),
        ((A1, B), found(B, A2), (True, True, False), (0, 0, 0)),
        ((A1,), ReadAnswer(Reading.TEXT), (False, False, False), (1, 0, 0)),
        ((), ReadAnswer(Reading.TEXT), (True, True, True), (0, 0, 0)),
        ((), ReadAnswer(Reading.MALFORMED), (False, False, False), (0, 0, 0)),
        ((), found(A1), (False, False, False), (0, 1, 0)),
    ],
)
def test_levels_and_counts(expected, answer, levels, counts):
    judgement = judge_calls(expected, OFFERED, answer)
    assert (judgement.tool, judgement.param, judgement.ast) == levels
    assert (judgement.missing, judgement.extra, judgement.hallucinated) == counts
    assert bool(judgement.error) is not judgement.ast


def test_each_expected_call_is_paired_with_the_best_of_its_tool():
    judgement = judge_calls((A1, A2), OFFERED, found(ToolCall("a", {"n": 2, "s": "y"}), A1))
    assert [(pair.is_exact, pair.has_keys, pair.exact_arguments) for pair in judgement.pairs] == [
        (True, True, 2),
        (False, True, 1),
    ]


def test_a_call_answers_only_one_expected_call():
    judgement = judge_calls((A1, A1), OFFERED, found(A1))
    assert [pair.is_called for pair in judgement.pairs] == [True, False]
    assert sum(pair.exact_arguments for pair in judgement.pairs) == 2


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (None, 0, False),
        ("1", 1, False),
        ({"a": 1, "b": [1, 2]}, {"b": [1.0, 2], "a": 1}, True),
        ([1, 2], [2, 1], False),
        ("caf\u00e9", "cafe\u0301", True),
        ("Café", "café", False),
        ([], {}, False),
    ],
)
def test_values_are_equal_as_json_is(first, second, equal):
    assert (freeze(first) == freeze(second)) is equal


@pytest.mark.parametrize(
    ("text", "calls", "reading"),
    [
        ("Action: a\nAction Input: {}", [{"name": "a", "arguments": {}}], Reading.CALLS),
        ("The answer is 4.", [], Reading.TEXT),
        ("Action: a-b\nAction Input: {}", [], Reading.MALFORMED),
        ("Action: a\nAction Input: [1]", [{"name": "a", "arguments": [1]}], Reading.MALFORMED),
    ],
)
def test_the_strict_reading_is_the_engine_s(text, calls, reading):
    assert read_strictly(text, calls).reading is reading


def test_the_lenient_reading_finds_what_the_engine_does_not():
    answer = read_leniently('Action: a-b\nAction Input: {"n": 1}', {"a-b"})
    assert answer.to_json() == {"reading": "calls", "calls": [{"name": "a-b", "arguments": {"n": 1}}]}
