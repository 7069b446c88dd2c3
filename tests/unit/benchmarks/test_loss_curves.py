"""The test that tells two ways of training apart by their loss curves."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")
PLACE = Path(__file__).resolve().parents[3] / "benchmarks" / "loss_curves.py"


@pytest.fixture(scope="module")
def curves():
    spec = importlib.util.spec_from_file_location("loss_curves", PLACE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def runs(count, seed, shift=0.0, noise=0.02, updates=20):
    """Curves that fall from 2 to about 1, with noise between runs."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    return [
        [(128 * (n + 1), 1 + 1 / (1 + 0.3 * n) + shift + chance.gauss(0, noise)) for n in range(updates)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_curves_of_one_kind_agree(curves, seed):
    verdict = curves.compare_curves(runs(3, seed), runs(3, 1000 + seed))
    assert verdict.agree
    assert verdict.updates == 20


@pytest.mark.parametrize("seed", range(8))
def test_a_lasting_difference_is_found(curves, seed):
    verdict = curves.compare_curves(runs(3, seed), runs(3, 1000 + seed, shift=0.1))
    assert verdict.agree is False
    assert verdict.least_p < 0.05
    assert verdict.mean_difference == pytest.approx(0.1, abs=0.03)


def test_false_alarms_are_about_as_rare_as_said(curves):
    alarms = sum(curves.compare_curves(runs(3, n), runs(3, 5000 + n)).agree is False for n in range(200))
    assert alarms <= 20


def test_a_difference_at_a_single_update_is_found(curves):
    first, second = runs(5, 1), runs(5, 2)
    for curve in second:
        curve[7] = (curve[7][0], curve[7][1] + 0.5)
    verdict = curves.compare_curves(first, second)
    assert verdict.agree is False
    assert verdict.at_rows == first[0][7][0]


def test_losses_are_compared_at_equal_rows_seen(curves):
    short = [[(100.0 * n, 3 - 0.1 * n) for n in range(1, 11)] for _ in range(2)]
    long = [[(50.0 * n, 3 - 0.05 * n) for n in range(1, 21)] for _ in range(2)]
    assert curves.compare_curves(short, long).agree
    shifted = [[(rows + 60, loss) for rows, loss in curve] for curve in long]
    assert curves.compare_curves(short, shifted).agree is False


def test_a_single_run_says_nothing(curves):
    assert curves.compare_curves(runs(1, 0), runs(3, 1)).agree is None


def test_loss_between_and_beyond_updates(curves):
    curve = [(10.0, 2.0), (20.0, 1.0)]
    assert [curves.loss_at(curve, rows) for rows in (5, 10, 15, 20, 30)] == [2.0, 2.0, 1.5, 1.0, 1.0]


def test_holm(curves):
    assert curves.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert curves.holm([0.9, 0.8]) == [1.0, 1.0]


def test_welch_against_a_known_value(curves):
    p, error, freedom = curves.welch([3.0, 4.0, 1.0, 2.1], [490.2, 340.0, 433.9])
    assert (p, freedom) == (pytest.approx(0.010751561149785, rel=1e-6), pytest.approx(2.0, abs=0.01))
    assert error > 0
