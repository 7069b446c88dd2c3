"""Figures over rows and answers."""

from __future__ import annotations

import math

import pytest

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.metrics import RowLoss, call_metrics, loss_metrics, perplexity, wilson_interval
from lfwrap.evaluate.tool_calls.cases import Case, CaseKind
from lfwrap.evaluate.tool_calls.matching import ReadAnswer, Reading
from lfwrap.inference.questions import ask

A, B = ToolCall("a", {"n": 1}), ToolCall("b", {"n": 1, "m": 2})


def case(*expected: ToolCall) -> Case:
    return Case("1.2", ask("?"), expected, frozenset({"a", "b"}))


def test_loss_is_per_token_and_the_rows_own_mean_beside_it():
    figures = loss_metrics([RowLoss(1, 6.0, 3, 9, False), RowLoss(2, 1.0, 1, 4, True), RowLoss(3, 0.0, 0, 5, True)])
    assert figures["loss"] == pytest.approx(7 / 4)
    assert figures["perplexity"] == pytest.approx(math.exp(7 / 4))
    assert figures["loss_of_rows"] == pytest.approx((2 + 1) / 2)
    assert (figures["rows"], figures["rows_cut"], figures["rows_without_supervised_token"]) == (2, 2, 1)


def test_nothing_measured_is_null_and_a_huge_loss_has_no_perplexity():
    assert loss_metrics([])["loss"] is None
    assert perplexity(None) is None
    assert perplexity(1000.0) is None


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"), [(0, 10, 0.0, 0.278), (8, 10, 0.490, 0.943), (10, 10, 0.722, 1.0)]
)
def test_the_interval_is_wilson_s(successes, trials, low, high):
    """The figures are those of the score interval in any statistics package."""
    assert wilson_interval(successes, trials) == pytest.approx([low, high], abs=5e-4)
    assert wilson_interval(0, 0) is None


def test_calls_are_counted_by_kind_tool_and_whether_seen():
    answers = [
        (case(A), ReadAnswer(Reading.CALLS, (A,))),
        (case(B), ReadAnswer(Reading.CALLS, (ToolCall("b", {"n": 1, "m": 9}),))),
        (case(A, B), ReadAnswer(Reading.CALLS, (A, ToolCall("c", {})))),
        (case(A), ReadAnswer(Reading.MALFORMED)),
        (case(A), ReadAnswer(Reading.TEXT)),
        (case(), ReadAnswer(Reading.TEXT)),
        (case(), ReadAnswer(Reading.CALLS, (A,))),
    ]
    figures = call_metrics([(one, one.judge(answer)) for one, answer in answers], seen={"a"})
    assert (figures["cases"], figures["tool_accuracy"], figures["ast_accuracy"]) == (5, 2 / 5, 1 / 5)
    assert (figures["parse_failures"], figures["no_call"]) == (1, 1)
    assert (figures["no_call_cases"], figures["no_call_accuracy"]) == (2, 1 / 2)
    assert figures["calls"] == {"expected": 6, "missing": 3, "extra": 2, "hallucinated": 1}
    assert figures["arguments"] == {"expected": 8, "exact": 3, "exact_match": 3 / 8}
    assert {kind: of["cases"] for kind, of in figures["by_kind"].items()} == {
        CaseKind.SINGLE: 4, CaseKind.PARALLEL: 1, CaseKind.NO_CALL: 2,
    }  # fmt: skip
    assert figures["by_tool"]["b"] == {"calls": 2, "called": 1, "right_arguments": 1, "exact": 0}
    assert (figures["seen"]["cases"], figures["seen"]["ast_accuracy"]) == (3, 1 / 3)
    assert (figures["unseen"]["cases"], figures["unseen"]["ast_accuracy"]) == (2, 0)


def test_without_known_training_data_there_is_no_split():
    assert "seen" not in call_metrics([], None)
