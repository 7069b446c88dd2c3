"""Each thing that goes wrong has its verdict and its name; what is healthy is called learned, without a doubt."""

from __future__ import annotations

import dataclasses
import math

import pytest

from lfwrap.verdict.curves import Log, Point
from lfwrap.verdict.evidence import Answers, DataFacts, Evidence, Margin
from lfwrap.verdict.judge import judge
from lfwrap.verdict.result import VerdictKind
from lfwrap.verdict.weights import WeightChange

FALLING = [5.0 - 0.1 * number + 0.01 * (number % 3) for number in range(30)]
FLAT = [2.0 + 0.1 * math.sin(7 * number) for number in range(30)]
MOVED = WeightChange(28, 28, ratio=0.05, largest=0.1, measured=28)


def curve(losses) -> tuple[Point, ...]:
    return tuple(Point(step, loss) for step, loss in enumerate(losses, 1))


def log(losses=FALLING, evaluation=(), rate: float = 1e-4) -> Log:
    steps = len(losses)
    return Log(curve(losses), tuple(evaluation), curve([rate] * steps), (), steps)


def asked(**values) -> Answers:
    healthy = {
        "source": "law_val", "is_held_out": True, "rows": 16, "base_loss": 3.0, "tuned_loss": 1.5,
        "gain": Margin(1.5, 0.1), "margin": Margin(0.5, 0.05), "base_margin": Margin(0.2, 0.02),
        "supervised_tokens": 300, "asked": 8, "changed": 8,
    }  # fmt: skip
    return Answers(**(healthy | values))


HEALTHY = Evidence(log(), MOVED, asked(), DataFacts(100, 100))


def changed(**values) -> Evidence:
    return dataclasses.replace(HEALTHY, **values)


def names(evidence: Evidence) -> tuple[str, set[str]]:
    verdict = judge(evidence)
    return str(verdict.kind), {finding.rule for finding in verdict.warnings}


@pytest.mark.parametrize(
    "evidence",
    [
        HEALTHY,
        changed(answers=None),
        changed(weights=None),
        changed(weights=dataclasses.replace(MOVED, ratio=None)),
        changed(log=Log()),
        changed(log=log(FLAT)),
        changed(log=log(FALLING, [Point(10, 3.0), Point(20, 2.0), Point(30, 2.05)])),
        changed(log=log(FALLING, [Point(30, 0.011), Point(31, 0.02)])),
        changed(answers=asked(is_held_out=False)),
        changed(answers=asked(margin=None, base_margin=None)),
        changed(answers=asked(margin=Margin(0.1, 0.2), base_margin=Margin(0.1, 0.2))),
        changed(answers=asked(margin=Margin(-0.14, 0.11), base_margin=Margin(0.1, 0.1), tuned_loss=2.8)),
        changed(answers=asked(margin=Margin(0.3, 0.12), base_margin=Margin(0.5, 0.1))),
        changed(kept_steps=(27, 30), weights=dataclasses.replace(MOVED, equal_to=("checkpoint-30",)), saved_step=30),
        changed(log=log(FALLING[:9])),
    ],
)
def test_a_healthy_run_is_called_learned(evidence):
    verdict = judge(evidence)
    assert (verdict.kind, verdict.warnings, verdict.is_clean) == (VerdictKind.LEARNED, (), True)
    assert verdict.summary.endswith(".")


@pytest.mark.parametrize(
    ("evidence", "kind", "rule"),
    [
        (changed(weights=WeightChange(28, 0), log=log(FLAT, rate=0.0)), "nothing changed", "no-learning-rate"),
        (changed(weights=WeightChange(28, 0), log=log([0.0] * 9), answers=None), "nothing changed", "no-labels"),
        (changed(weights=WeightChange(0, 0), answers=None), "nothing changed", "no-layers"),
        (changed(weights=WeightChange(28, 0), answers=None), "nothing changed", "weights-unmoved"),
        (changed(weights=dataclasses.replace(MOVED, broken=("a",))), "diverged", "diverged"),
        (changed(log=log([3.0, 4.0, math.nan, math.nan]), answers=None), "diverged", "diverged"),
        (changed(log=log([3.0, 4.0, 0.0, 0.0]), answers=None), "diverged", "diverged"),
        (changed(log=log(FALLING[::-1]), answers=None), "diverged", "diverged"),
        (changed(weights=dataclasses.replace(MOVED, ratio=30.0)), "diverged", "diverged"),
        (changed(log=log(FLAT), answers=asked(tuned_loss=9.0, gain=Margin(-6.0, 0.1))), "diverged", "diverged"),
        (changed(log=log(FALLING, [Point(10, 2.0), Point(30, 2.5)])), "overfitted", "overfitted"),
        (changed(answers=asked(tuned_loss=4.0, gain=Margin(-1.0, 0.1))), "overfitted", "worse-on-unseen-rows"),
        (changed(data=DataFacts(64, 1)), "overfitted", "repeated-rows"),
        (changed(log=log(FLAT), answers=None), "too little", "loss-unmoved"),
        (changed(log=log(FLAT), answers=asked(tuned_loss=2.99, gain=Margin(0.01, 0.1))), "too little", "loss-unmoved"),
        (changed(log=log([2.0, 1.0]), answers=None), "too little", "few-updates"),
        (changed(log=log(FLAT), answers=asked(changed=0, gain=Margin(0.01, 0.1))), "too little", "same-answers"),
        (changed(log=log(FLAT), answers=asked(changed=0, gain=Margin(0.0, 0.0))), "nothing changed", "same-answers"),
        (changed(answers=asked(margin=Margin(0.0, 0.1))), "too little", "answers-of-other-questions"),
        (changed(answers=asked(margin=Margin(0.0, 0.02), base_margin=Margin(0.0, 0.1))), "too little", "form-only"),
        (changed(answers=asked(margin=Margin(-0.3, 0.03), base_margin=Margin(-0.1, 0.1))), "too little", "form-only"),
        (changed(answers=asked(supervised_tokens=0, is_held_out=False, gain=None, rows=0, base_loss=None,
                               tuned_loss=None)), "too little", "no-labels"),
        (changed(data=DataFacts(9, 9, ("<|im_start|>",), "qwen")), "learned", "wrong-template"),
        (changed(saved_step=12), "learned", "saved-too-early"),
        (changed(result_is_older=True), "learned", "saved-too-early"),
        (changed(kept_steps=(27, 30), weights=dataclasses.replace(MOVED, equal_to=("checkpoint-27",))), "learned",
         "saved-too-early"),
        (changed(kept_steps=(30,), weights=dataclasses.replace(MOVED, compared=("checkpoint-30",))), "learned",
         "saved-too-early"),
    ],
)  # fmt: skip
def test_what_went_wrong_is_named_with_a_way_out(evidence, kind, rule):
    assert names(evidence) == (kind, {rule})
    verdict = judge(evidence)
    assert all(finding.hint for finding in verdict.findings)
    assert not verdict.is_clean


def test_nothing_known_is_not_called_anything():
    assert judge(Evidence(Log())).kind is VerdictKind.UNKNOWN


@pytest.mark.parametrize(("kept", "words"), [((10, 30), "Take checkpoint-10"), ((30,), "was not kept")])
def test_the_best_checkpoint_is_named_with_whether_it_is_still_there(kept, words):
    evidence = changed(
        log=log(FALLING, [Point(10, 2.0), Point(30, 2.5)]),
        kept_steps=kept,
        weights=dataclasses.replace(MOVED, equal_to=("checkpoint-30",)),
    )
    (finding,) = judge(evidence).warnings
    assert words in finding.hint


def test_a_run_that_loaded_its_best_checkpoint_is_not_overfitted_by_what_came_after():
    evidence = changed(log=log(FALLING, [Point(10, 2.0), Point(30, 2.5)]), best_step=10, kept_steps=(10, 30))
    assert judge(evidence).is_clean
