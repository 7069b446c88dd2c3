"""The verdict on a comparison of an exported model with what it was made from."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import EngineError
from lfwrap.inference.parity import TOLERANCES, ParityReport, ParityRow, TokenDifference, require_parity

ROW = ParityRow("How?", "So.", "So.", True, True, 3, 0.0, 0.0)


def _report(*rows: ParityRow, dtype: str = "bfloat16") -> ParityReport:
    return ParityReport(dtype, "float32", "cpu", rows, 1.0)


def _parted(margin: float) -> ParityRow:
    difference = TokenDifference(4, " dog", " cat", margin)
    return replace(ROW, exported_answer="No.", same_answer=False, first_difference=difference)


def test_equal_answers_pass():
    report = _report(ROW, ROW)
    require_parity(report)
    assert report.to_json()["passed"] is True
    assert "2 of 2 greedy answers are the same" in report.summary()


def test_a_near_tie_is_rounding():
    tie = TOLERANCES["bfloat16"].tie
    require_parity(_report(_parted(tie * 0.9)))


def test_parting_answers_are_an_error_with_the_first_differing_token():
    with pytest.raises(EngineError, match=r"'How\?': the answers part at token 5: ' dog' before, ' cat' exported"):
        require_parity(_report(ROW, _parted(3.0)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (replace(ROW, same_prompt=False), "another prompt"),
        (replace(ROW, mean_abs_logit_difference=1.5), "logits differ by 1.5 on average"),
        (replace(ROW, mean_abs_logit_difference=math.nan), "logits differ by nan"),
    ],
)
def test_each_kind_of_difference_is_found(row, message):
    [problem] = _report(row).problems()
    assert message in problem


def test_all_problems_are_named_at_once():
    row = replace(_parted(9.0), same_prompt=False, mean_abs_logit_difference=2.0)
    assert len(_report(row, row).problems()) == 6


def test_rows_come_from_json():
    value = {
        "question": "How?", "reference_answer": "a", "exported_answer": "b", "same_prompt": True, "same_answer": False,
        "answer_tokens": 1, "mean_abs_logit_difference": 0.1, "max_abs_logit_difference": 0.2,
        "first_difference": {"position": 0, "reference_token": "a", "exported_token": "b", "reference_margin": 1.0},
        "same_top_tokens": 1, "reference_logprob": -1.0, "logprob": -2.0,
    }  # fmt: skip
    row = ParityRow.from_json(value)
    assert row.first_difference == TokenDifference(0, "a", "b", 1.0)
    assert _report(row).to_json()["rows"][0] == value


@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(sorted(TOLERANCES)))
def test_more_rounding_is_never_judged_milder(less, more, dtype):
    less, more = sorted((less, more))
    count = [
        len(_report(replace(_parted(x), mean_abs_logit_difference=x), dtype=dtype).problems()) for x in (less, more)
    ]
    assert count[0] <= count[1]


def test_coarser_types_forgive_more():
    fine, middle, coarse = (TOLERANCES[name] for name in ("float32", "float16", "bfloat16"))
    assert fine.mean_logit < middle.mean_logit < coarse.mean_logit
    assert fine.tie < middle.tie < coarse.tie


def test_the_effect_of_quantising_is_stated_not_judged():
    row = replace(ROW, answer_tokens=4, same_top_tokens=3, reference_logprob=-4.0, logprob=-8.0)
    effect = _report(replace(row, same_answer=False), replace(row)).effect()
    assert (effect["same_answers"], effect["top_token_agreement"]) == (1, 0.75)
    assert effect["perplexity_reference"] == pytest.approx(math.e, abs=1e-3)
    assert effect["perplexity"] == pytest.approx(math.e**2, abs=1e-3)
