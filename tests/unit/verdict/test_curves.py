"""Losses that fell are told from losses that only wander; logs of all kinds are read."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.run.folder.paths import RunPaths
from lfwrap.verdict.curves import Point, loss_change, loss_noise, read_log, trend_score


def points(losses) -> list[Point]:
    return [Point(step, loss) for step, loss in enumerate(losses, 1)]


def noisy(shape, noise: float, seed: int) -> list[float]:
    source = random.Random(seed)  # noqa: S311 - repeatable
    return [loss + source.gauss(0, noise) for loss in shape]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [8, 20, 100, 1000])
def test_a_curve_that_falls_is_told_from_one_that_wanders(seed, count):
    falling = [1.0 + math.exp(-3 * number / count) for number in range(count)]
    found = loss_change(points(noisy(falling, 0.05, seed)))
    assert (found.falls, found.rises) == (True, False)
    found = loss_change(points(noisy(falling[::-1], 0.05, seed)))
    assert (found.falls, found.rises) == (False, True)


def test_losses_that_only_wander_are_hardly_ever_said_to_fall():
    found = [loss_change(points(noisy([1.5] * 60, 0.2, seed))) for seed in range(300)]
    assert sum(one.falls or one.rises for one in found) <= 6


@pytest.mark.parametrize("count", [20, 200])
def test_noise_is_what_lies_around_the_curve_whatever_its_slope_and_single_spikes(count):
    losses = noisy([5 - 4 * number / count for number in range(count)], 0.1, 3)
    losses[count // 2] = 40.0
    assert loss_noise(losses) == pytest.approx(0.1, rel=0.5)


@given(st.lists(st.floats(0, 20), min_size=4, max_size=40))
def test_a_trend_turns_with_the_curve(losses):
    assert trend_score(losses) == pytest.approx(-trend_score(losses[::-1]))


def test_a_log_is_read_whatever_it_lacks(tmp_path):
    paths = RunPaths(tmp_path)
    assert read_log(paths).training == ()
    paths.output.mkdir()
    paths.trainer_log.write_text(
        '{"current_steps": 1, "total_steps": 3, "loss": 2.0, "lr": 0.1}\n'
        '{"current_steps": 2, "total_steps": 3, "loss": NaN, "lr": 0.1}\n'
        "cut off {\n"
        '{"current_steps": 2, "total_steps": 3, "eval_loss": 1.5}\n'
        '{"current_steps": 1, "total_steps": 3, "loss": 1.9, "lr": 0.2}\n'
    )
    log = read_log(paths)
    assert [point.loss for point in log.training][:1] == [1.9]
    assert math.isnan(log.training[1].loss)
    assert (log.evaluation, log.total_steps) == ((Point(2, 1.5),), 3)
    paths.trainer_log.unlink()
    history = [{"step": 5, "loss": 1.0, "grad_norm": 0.5, "learning_rate": 0.1}, {"step": 5, "eval_loss": 2.0}, 7]
    paths.trainer_state.write_text(json.dumps({"global_step": 5, "log_history": history}))
    log = read_log(paths)
    assert (log.training, log.norms, log.evaluation) == ((Point(5, 1.0),), (Point(5, 0.5),), (Point(5, 2.0),))
    paths.trainer_state.unlink()
    (paths.output / "eval_results.json").write_text('{"eval_loss": 3.0}')
    assert read_log(paths).evaluation == (Point(0, 3.0),)
