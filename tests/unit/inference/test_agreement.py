"""The figures along the reference's answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.inference.agreement import Agreement


@dataclass(frozen=True)
class Row:
    same_answer: bool
    answer_tokens: int
    same_top_tokens: int
    reference_logprob: float
    logprob: float


def test_the_questions_are_summed_not_averaged():
    found = Agreement.of([Row(True, 30, 30, -30.0, -30.0), Row(False, 10, 0, -10.0, -50.0)])
    assert (found.same_answers, found.questions, found.tokens) == (1, 2, 0.75)
    assert found.perplexity_reference == pytest.approx(math.e)
    assert found.perplexity == pytest.approx(math.e**2)
    assert found.perplexity_change == pytest.approx(math.e - 1)
    assert (
        "1 of 2 greedy answers the same; 75.0% of tokens agree; perplexity 2.718 → 7.389 (+171.8%)" in found.summary()
    )
    assert found.to_json()["top_token_agreement"] == 0.75


@pytest.mark.parametrize("rows", [[], [Row(True, 0, 0, 0.0, 0.0)]])
def test_nothing_said_is_nothing_different(rows):
    found = Agreement.of(rows)
    assert (found.tokens, found.perplexity_change) == (1.0, 0.0)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(-200, 0)), min_size=1))
def test_a_model_agrees_with_itself(answers):
    rows = [Row(True, tokens, tokens, logprob, logprob) for tokens, logprob in answers]
    found = Agreement.of(rows)
    assert (found.tokens, found.perplexity_change) == (1.0, 0.0)
