"""Curves as SVG paths and axes, as numbers only: the page's template puts them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

WIDTH, HEIGHT = 1000, 400
"""The drawing's own units: it is stretched to the width of the page, its lines keep theirs."""

_MOST_POINTS = 600
_SMOOTHING = 0.9
_SMOOTHED_FROM = 30
_TICKS = 7
_LEAST_EXTENT = 1e-300  # below it, powers of ten and their parts are no longer exact
_HEADROOM = 0.05

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot.

    Attributes:
        name: what it is.
        points: (step, value), ascending by step.
        colour: which of the page's colours it has, counted from 0.
        is_noisy: a moving average is drawn over it where it is long.
        is_sparse: single points that deserve a mark each, such as evaluations; a dashed line joins them.
    """

    name: str
    points: Sequence[Point]
    colour: int = 0
    is_noisy: bool = False
    is_sparse: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values with its ticks.

    Attributes:
        low: the least value shown.
        high: the greatest.
        ticks: values that get a label.
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where a value lies between ``low`` (0) and ``high`` (1)."""
        return (value - self.low) / (self.high - self.low)


def make_axis(low: float, high: float, *, headroom: float = 0.0) -> Axis:
    """An axis from ``low`` to ``high`` with ticks at round numbers; one of no extent is widened."""
    if high - low < _LEAST_EXTENT:
        spread = abs(low) * 0.1 if abs(low) > _LEAST_EXTENT else 1.0
        low, high = low - spread, high + spread
    margin = (high - low) * headroom
    low, high = low - margin, high + margin
    step = _round_step((high - low) / _TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(low, high, tuple(number * step for number in range(first, last + 1)))


def _round_step(wanted: float) -> float:
    """The next of 1, 2, 2.5, 5, 10, … that is not smaller."""
    scale = 10.0 ** math.floor(math.log10(wanted))
    return next((factor * scale for factor in (1, 2, 2.5, 5) if factor * scale >= wanted * (1 - 1e-9)), 10 * scale)


def thin(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most about so many points of a curve: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(points) <= most:
        return list(points)
    count = max(1, most // 2)
    kept: list[Point] = []
    for number in range(count):
        stretch = points[len(points) * number // count : len(points) * (number + 1) // count]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept


def smooth(points: Sequence[Point], weight: float = _SMOOTHING) -> list[Point]:
    """The exponential moving average, its start corrected for the missing past (as Adam corrects its moments)."""
    found: list[Point] = []
    average = 0.0
    for number, (step, value) in enumerate(points, 1):
        average = weight * average + (1 - weight) * value
        found.append((step, average / (1 - weight**number)))
    return found


def format_value(value: float) -> str:
    """A number for an axis or a label: ``0.25``, ``1,500``, ``2e-04``."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:  # noqa: PLR2004 - where plain digits are still easy to read
        return f"{value:,.4f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def draw(title: str, series: Sequence[Series]) -> dict[str, Any] | None:
    """A plot as plain values for the template; None when there is nothing to draw.

    Returns:
        ``title``, ``series`` (each with name, colour, ``path``, ``smooth`` or None, ``marks`` and ``last``),
        ``x_ticks`` and ``y_ticks`` (each a label with its place in percent), ``data`` for reading values off.
    """
    shown = [each for each in (_finite(one) for one in series) if each.points]
    if not shown:
        return None
    everything = [point for each in shown for point in each.points]
    x_axis = make_axis(min(x for x, _ in everything), max(x for x, _ in everything))
    y_axis = make_axis(min(y for _, y in everything), max(y for _, y in everything), headroom=_HEADROOM)
    return {
        "title": title,
        "series": [_draw_series(each, x_axis, y_axis) for each in shown],
        "x_ticks": [_tick(x_axis, value) for value in x_axis.ticks if value == int(value)],
        "y_ticks": [_tick(y_axis, value) for value in y_axis.ticks],
        "data": {
            "x": [x_axis.low, x_axis.high],
            "y": [y_axis.low, y_axis.high],
            "series": [{"name": each.name, "points": thin(each.points)} for each in shown],
        },
    }


def _finite(series: Series) -> Series:
    """Without what can't be drawn: a loss may become nan or infinite."""
    points = [(x, y) for x, y in series.points if math.isfinite(y)]
    return replace(series, points=points)


def _draw_series(series: Series, x_axis: Axis, y_axis: Axis) -> dict[str, Any]:
    smoothed = thin(smooth(series.points)) if series.is_noisy and len(series.points) >= _SMOOTHED_FROM else None
    marked = series.points if series.is_sparse or len(series.points) == 1 else ()
    return {
        "name": series.name,
        "colour": series.colour,
        "is_dashed": series.is_sparse,
        "path": _path(thin(series.points), x_axis, y_axis),
        "smooth": _path(smoothed, x_axis, y_axis) if smoothed else None,
        "marks": [_place(point, x_axis, y_axis) for point in thin(marked)],
        "last": format_value(series.points[-1][1]),
    }


def _path(points: Sequence[Point], x_axis: Axis, y_axis: Axis) -> str:
    pairs = (f"{WIDTH * x_axis.share(x):.1f} {HEIGHT * (1 - y_axis.share(y)):.1f}" for x, y in points)
    return "M" + "L".join(pairs)


def _place(point: Point, x_axis: Axis, y_axis: Axis) -> dict[str, float]:
    return {
        "left": round(100 * x_axis.share(point[0]), 2),
        "top": round(100 * (1 - y_axis.share(point[1])), 2),
    }


def _tick(axis: Axis, value: float) -> dict[str, Any]:
    return {"label": format_value(value), "percent": round(100 * axis.share(value), 2)}
