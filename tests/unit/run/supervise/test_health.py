"""Warnings of a training's health: none for healthy curves, a named one for each illness, once and soon."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.engine.faults import WARNINGS
from lfwrap.run.folder.health import Sample, make_sample
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.supervise.health import HealthWarning, HealthWatch
from lfwrap.run.supervise.health_rules import spread_of
from lfwrap.yaml_files import load_yaml
from tests.unit.run.supervise.healthy_curves import HEALTHY, Curve, seeded

NAN = float("nan")


def warnings_of(samples: Iterable[Sample], copies: float | None = 0.0, **values: Any) -> list[HealthWarning]:
    watch = HealthWatch({"stage": "sft", "learning_rate": 2e-4, **values}, lambda: copies)
    return [warning for sample in samples for warning in watch.note(sample)]


def rules_of(samples: Iterable[Sample], copies: float | None = 0.0, **values: Any) -> list[str]:
    return [warning.rule for warning in warnings_of(samples, copies, **values)]


def changed(samples: Iterable[Sample], at: int, **changes: float | None) -> Iterator[Sample]:
    for sample in samples:
        yield dataclasses.replace(sample, **changes) if sample.step >= at else sample  # type: ignore[arg-type]


def falling(*, updates: int, start: float, fallen: float, **more: Any) -> Curve:
    floor = max(0.12, start * (1 - fallen))
    return Curve(updates, start, floor, speed=updates / 5, warmup=max(1, updates // 20), **more)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_curve_brings_no_warning(name):
    curve = HEALTHY[name]
    assert {seed: rules_of(curve.samples(seed), **curve.values) for seed in range(20)} == {
        seed: [] for seed in range(20)
    }


@given(
    curve=st.builds(
        falling,
        updates=st.integers(20, 500),
        start=st.floats(0.6, 12),
        fallen=st.floats(0.15, 0.95),
        noise=st.floats(0.005, 0.4),
        passes=st.floats(0.3, 6),
        step=st.just(0.03),
        logging=st.sampled_from([1, 1, 5, 10]),
    ),
    seed=st.integers(0, 1 << 30),
)
@settings(max_examples=150, deadline=None)
def test_curves_that_fall_bring_no_warning(curve, seed):
    assert rules_of(curve.samples(seed)) == []


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["loss", "grad_norm"])
def test_what_is_not_finite_is_said_at_once_and_alone(key, value):
    found = warnings_of(changed(Curve(updates=300).samples(1), 40, **{key: value}))
    assert [(each.rule, each.step) for each in found] == [("loss-not-finite", 40)]
    assert str(value) in found[0].message
    assert "learning_rate" in found[0].remedy


def test_the_scale_of_fp16_may_be_sought_but_not_for_ever():
    """2¹⁶ may be halved 16 times, each with an infinite norm and an update that is left out."""
    curve = Curve(updates=300)
    seeking = (
        dataclasses.replace(sample, grad_norm=math.inf, learning_rate=0.0) if sample.step <= 16 else sample
        for sample in curve.samples(3)
    )
    assert rules_of(seeking, fp16=True) == []
    assert rules_of(changed(curve.samples(3), 100, grad_norm=NAN), fp16=True) == ["loss-not-finite"]


def test_a_loss_of_exactly_0_without_gradients_is_that_of_nan():
    """The trainer's filter logs 0 for NaN; the plain engine may show no more than that."""
    samples = changed(Curve(updates=300).samples(4), 30, loss=0.0, grad_norm=None)
    assert [(each.rule, each.step) for each in warnings_of(samples)] == [("loss-not-finite", 34)]


@pytest.mark.parametrize(
    ("curve", "at", "level", "within"),
    [
        (Curve(updates=400), 3, 9.0, 30),
        (Curve(updates=400), 200, 7.5, 30),
        (Curve(updates=400, noise=0.3), 200, 7.5, 30),
        (Curve(updates=40, speed=15, warmup=2), 4, 8.0, 12),
        (Curve(updates=2000, logging=10, speed=300), 1000, 6.0, 110),
        (Curve(updates=300, start=0.9, floor=0.4), 100, 3.0, 30),
    ],
    ids=["from the start", "half way", "noisy", "a short run", "logged every 10", "a small loss"],
)
def test_a_rise_that_stays_is_said_within_few_updates(curve, at, level, within):
    rng = seeded(7)
    samples = (
        dataclasses.replace(one, loss=level * (1 + 0.1 * rng.gauss(0, 1))) if one.step >= at else one
        for one in curve.samples(5)
    )
    found = warnings_of(samples)
    assert [each.rule for each in found] == ["loss-spike"]
    assert at < found[0].step <= at + within
    assert {"before", "now"} <= found[0].figures.keys()


def test_a_slow_rise_is_a_rise():
    rng = seeded(1)
    samples = (
        Sample(n, 800, (1.0 if n < 200 else 1.0 + (n - 200) / 200) * (1 + 0.05 * rng.gauss(0, 1)), learning_rate=1e-4)
        for n in range(1, 801)
    )
    assert rules_of(samples) == ["loss-spike"]


def test_files_in_their_own_order_may_raise_the_loss():
    samples = list(changed(Curve(updates=400).samples(5), 200, loss=7.0))
    assert rules_of(samples, disable_shuffling=True) == []
    assert rules_of(samples, streaming=True) == []


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_loss_that_stays_over_passes_of_the_same_rows_is_stuck(noise):
    """Each row has its own loss, which each pass shows again."""
    rows = [2.0 + 0.3 * seeded(9).gauss(0, 1) for _ in range(40)]
    rng = seeded(2)
    samples = [
        Sample(n, 200, rows[(n - 1) % 40] * (1 + noise * rng.gauss(0, 1)), learning_rate=2e-4, epoch=n / 40)
        for n in range(1, 201)
    ]
    found = warnings_of(samples)
    assert [each.rule for each in found] == ["loss-stuck"]
    assert found[0].step <= 200


def test_a_loss_that_stays_within_one_pass_is_stuck_once_its_noise_allows_to_say_so():
    rng = seeded(3)
    samples = [
        Sample(n, 2000, 2.0 * (1 + 0.03 * rng.gauss(0, 1)), learning_rate=2e-4, grad_norm=1.0, epoch=n / 2000)
        for n in range(1, 2001)
    ]
    found = warnings_of(samples)
    assert [each.rule for each in found] == ["loss-stuck"]
    assert 100 < found[0].step < 1500


def test_a_learning_rate_of_0_is_said_after_few_updates():
    found = warnings_of(changed(Curve(updates=300, warmup=0).samples(6), 0, learning_rate=0.0))
    assert (found[0].rule, found[0].step) == ("learning-rate-zero", 5)


def test_gradients_of_0_are_said_after_few_updates():
    samples = list(changed(Curve(updates=300).samples(6), 0, grad_norm=0.0))
    assert (warnings_of(samples)[0].rule, warnings_of(samples)[0].step) == ("no-gradient", 5)
    assert rules_of(samples, galore_layerwise=True) == []


def near_zero(passes: float, updates: int = 200) -> list[Sample]:
    return list(Curve(updates, 2.5, 0.001, 15, 0.1, passes, warmup=2).samples(8))


def test_one_row_again_and_again_is_known_by_heart():
    found = warnings_of(near_zero(passes=200))
    assert [each.rule for each in found] == ["loss-near-zero"]
    assert found[0].step < 100


def test_copies_within_the_first_pass_are_known_by_heart():
    assert rules_of(near_zero(passes=1), copies=0.99) == ["loss-near-zero"]
    assert rules_of(near_zero(passes=1), copies=0.0) == []
    assert rules_of(near_zero(passes=1), copies=None) == []


def test_the_evaluation_decides_where_there_is_one():
    samples = near_zero(passes=20)
    apart = [each for one in samples for each in (one, Sample(one.step, eval_loss=2.9))]
    along = [each for one in samples for each in (one, Sample(one.step, eval_loss=(one.loss or 0) * 1.1))]
    assert rules_of(apart) == ["loss-near-zero"]
    assert rules_of(along) == []


def test_an_evaluation_at_the_very_end_still_decides():
    samples = near_zero(passes=1)
    assert rules_of([*samples, Sample(200, eval_loss=2.9, epoch=1.0)]) == ["loss-near-zero"]
    assert rules_of([Sample(1, eval_loss=2.9), *samples]) == []


def test_a_training_of_preferences_may_end_near_0_and_yet_not_be_nan():
    curve = HEALTHY["preferences"]
    assert rules_of(changed(curve.samples(1), 50, grad_norm=NAN), stage="dpo") == ["loss-not-finite"]


def test_a_resumed_training_goes_on_from_what_its_lines_said():
    curve = list(Curve(updates=400).samples(9))
    watch = HealthWatch({"stage": "sft"})
    watch.restart(curve[:200])
    risen = [warning for one in changed(curve[200:], 0, loss=8.0) for warning in watch.note(one)]
    assert [each.rule for each in risen] == ["loss-spike"]
    assert risen[0].step <= 225


def test_level_and_spread_follow_the_loss_not_its_trend():
    rng = seeded(4)
    watch = HealthWatch({})
    measured = [watch.measure(Sample(n, loss=5.0 - 0.01 * n + rng.gauss(0, 0.1))) for n in range(1, 201)]
    assert measured[-1].level == pytest.approx(3.1, abs=0.1)
    assert measured[-1].spread == pytest.approx(0.1, rel=0.35)
    assert spread_of([]) == spread_of([1.0]) == 0.0


@pytest.mark.parametrize("rule", WARNINGS)
def test_a_warning_comes_back_from_its_event(rule):
    warning = HealthWarning(rule, 3, "the loss is nan", {"loss": NAN})
    back = HealthWarning.from_json(warning.to_json())
    assert back is not None
    assert (back.message, back.remedy, back.figures) == (warning.message, warning.remedy, {"loss": "nan"})
    assert HealthWarning.from_json({"rule": "of-later", "step": 3}) is None


@given(
    st.lists(
        st.builds(
            Sample,
            step=st.integers(0, 1 << 40),
            total_steps=st.integers(0, 1 << 40),
            loss=st.none() | st.floats(),
            grad_norm=st.none() | st.floats(),
            learning_rate=st.none() | st.floats(),
            epoch=st.none() | st.floats(),
            eval_loss=st.none() | st.floats(),
        ),
        max_size=60,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_log_breaks_the_watch(samples):
    watch = HealthWatch({"stage": "sft"})
    for sample in samples:
        watch.measure(sample)
        for warning in watch.note(sample):
            assert str(warning)
            warning.to_json()


def test_real_trainings_that_are_kept_bring_no_warning(tmp_path, old_runs):
    """With what the trainer's own state holds of their gradients."""
    roots = sorted(old_runs(tmp_path).iterdir())
    assert len(roots) == 2
    for root in roots:
        paths = RunPaths(root)
        history = json.loads(paths.trainer_state.read_bytes())["log_history"]
        samples = [sample for sample in map(make_sample, history) if sample is not None]
        assert len(samples) >= 14
        assert rules_of(samples, **load_yaml(paths.engine_yaml).values) == []
