"""Curves as paths and axes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.report.curves import HEIGHT, WIDTH, Series, draw, format_value, make_axis, smooth, thin

FINITE = st.floats(-1e6, 1e6, allow_nan=False)
CURVES = st.lists(FINITE, min_size=1, max_size=3000).map(lambda values: list(enumerate(values, 1)))


@given(CURVES, st.integers(2, 100))
def test_thinning_keeps_order_ends_of_range_and_bounds(points, most):
    kept = thin(points, most)
    assert len(kept) <= max(most, 2)
    assert kept == sorted(kept)
    assert set(kept) <= set(points)
    assert {min(y for _, y in kept), max(y for _, y in kept)} == {min(y for _, y in points), max(y for _, y in points)}


@given(CURVES)
def test_a_moving_average_stays_within_the_values(points):
    values = [value for _, value in points]
    averaged = [value for _, value in smooth(points)]
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert len(averaged) == len(points)
    assert averaged[0] == pytest.approx(values[0])
    assert all(min(values) - slack <= value <= max(values) + slack for value in averaged)


@given(FINITE, FINITE)
def test_ticks_are_few_round_and_inside(first, second):
    low, high = sorted((first, second))
    axis = make_axis(low, high)
    assert axis.low <= low
    assert high <= axis.high
    assert 2 <= len(axis.ticks) <= 9
    slack = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in axis.ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1.0, "1"),
        (-3.14159, "-3.1416"),
        (1500, "1,500"),
        (2e-4, "2e-4"),
        (1.25e-5, "1.25e-5"),
        (3e6, "3e6"),
    ],
)
def test_labels(value, text):
    assert format_value(value) == text


def test_a_plot_spans_its_drawing():
    plot = draw("Loss", [Series("a", [(1, 4.0), (3, 2.0)])])
    [series] = plot["series"]
    start, end = (tuple(map(float, pair.split())) for pair in series["path"].removeprefix("M").split("L"))
    assert (start[0], end[0]) == (0, WIDTH)
    assert 0 < start[1] < end[1] < HEIGHT
    assert series["last"] == "2"
    assert series["smooth"] is None
    assert [tick["label"] for tick in plot["x_ticks"]] == ["1", "2", "3"]


def test_long_noisy_curves_get_an_average_and_sparse_ones_marks():
    noisy = Series("train", [(step, 1.0) for step in range(1, 100)], is_noisy=True)
    sparse = Series("eval", [(10, 1.0), (50, 0.5)], colour=1, is_sparse=True)
    first, second = draw("Loss", [noisy, sparse])["series"]
    assert first["smooth"]
    assert first["marks"] == []
    assert (second["colour"], second["is_dashed"], len(second["marks"])) == (1, True, 2)


def test_a_single_point_is_a_mark():
    assert len(draw("Loss", [Series("a", [(1, 1.0)])])["series"][0]["marks"]) == 1


@pytest.mark.parametrize("points", [[], [(1, math.nan), (2, math.inf)]])
def test_nothing_to_draw(points):
    assert draw("Loss", [Series("a", points)]) is None


def test_what_is_no_number_is_left_out():
    plot = draw("Loss", [Series("a", [(1, 1.0), (2, math.nan), (3, 3.0)]), Series("b", [])])
    assert plot["data"]["series"] == [{"name": "a", "points": [(1, 1.0), (3, 3.0)]}]
