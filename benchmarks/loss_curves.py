"""Do two sets of loss curves differ by more than their runs differ among themselves?

Each set holds the curves of several runs that differ in their seed only. At every update of the first set the losses
are compared at equal rows seen, by Welch's t-test (two-sided, unequal variances); so are the means of whole curves,
which see a small lasting difference that single updates don't. The p-values are corrected by Holm's method. The curves
agree when none is below 5%. A test can't prove that two ways are the same: the verdict says how large a difference it
could have seen.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ALPHA = 0.05
Curve = Sequence[tuple[float, float]]
"""(rows seen, loss), by rows seen."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the test says.

    Attributes:
        agree: None where it could not be made: each set needs two runs at least.
        least_p: the least corrected p-value.
        at_rows: rows seen where it is; None where whole curves differ most.
        updates: updates that were compared.
        mean_difference: of the means of whole curves, second less first.
        standard_error: of that difference.
        detectable: the difference of these means that would have been found, about.
    """

    agree: bool | None
    least_p: float | None = None
    at_rows: float | None = None
    updates: int = 0
    mean_difference: float | None = None
    standard_error: float | None = None
    detectable: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def loss_at(curve: Curve, rows: float) -> float:
    """The loss when so many rows had been seen, on straight lines between updates; at the ends that of the end."""
    before = [point for point in curve if point[0] <= rows] or [curve[0]]
    after = [point for point in curve if point[0] >= rows] or [curve[-1]]
    (rows_0, loss_0), (rows_1, loss_1) = before[-1], after[0]
    if rows_1 == rows_0:
        return loss_0
    return loss_0 + (loss_1 - loss_0) * (rows - rows_0) / (rows_1 - rows_0)


def welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Welch's t-test: the two-sided p-value, the standard error of the difference, its degrees of freedom."""
    from scipy.stats import t

    parts = [statistics.variance(values) / len(values) for values in (first, second)]
    error = math.sqrt(sum(parts))
    difference = abs(statistics.fmean(second) - statistics.fmean(first))
    if error == 0.0:
        return (1.0 if difference == 0.0 else 0.0), 0.0, float(len(first) + len(second) - 2)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True)
    )
    return float(2 * t.sf(difference / error, freedom)), error, freedom


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method, in the order given."""
    order = sorted(range(len(values)), key=lambda number: values[number])
    corrected, largest = [0.0] * len(values), 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[number]))
        corrected[number] = largest
    return corrected


def compare_curves(first: Sequence[Curve], second: Sequence[Curve]) -> Verdict:
    """Whether two sets of curves lie within the noise between runs; see above."""
    if min(len(first), len(second)) < 2:
        return Verdict(None)
    end = min(curve[-1][0] for curve in (*first, *second))
    start = max(curve[0][0] for curve in (*first, *second))
    grid = [rows for rows, _ in first[0] if start <= rows <= end]
    if not grid:
        return Verdict(None)
    at = [[[loss_at(curve, rows) for curve in curves] for curves in (first, second)] for rows in grid]
    means = [
        [statistics.fmean(loss_at(curve, rows) for rows in grid) for curve in curves] for curves in (first, second)
    ]
    p_of_means, error, freedom = welch(*means)
    corrected = holm([*(welch(*pair)[0] for pair in at), p_of_means])
    least = min(range(len(corrected)), key=lambda number: corrected[number])
    from scipy.stats import t

    return Verdict(
        agree=corrected[least] >= ALPHA,
        least_p=corrected[least],
        at_rows=grid[least] if least < len(grid) else None,
        updates=len(grid),
        mean_difference=statistics.fmean(means[1]) - statistics.fmean(means[0]),
        standard_error=error,
        detectable=float(t.isf(ALPHA / 2 / len(corrected), freedom)) * error,
    )
