"""When a training's curve deserves a warning: each rule looks at one line of the log after the other.

The thresholds and where they come from: docs/explanation/health.md. A rule is silent where it can't know.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfwrap.run.folder.health import Sample

LEVEL_WINDOW = 21
NOISE_WINDOW = 50
_NORMAL = 1.4826
"""Median of absolute deviations → standard deviation, for normally distributed noise."""

MOST_HIGH = 20
LEAST_HIGH = 8
BEFORE = 20
LEAST_BEFORE = 2
GROUPED_BEFORE = 100
RISE_RATIO = 1.25
RISE_NATS = 0.1
RISE_ERRORS = 4.0
RISE_OF_GAIN = 0.5

STUCK_UPDATES = 25
STUCK_ENTRIES = 20
STUCK_SHARE = 0.01
STUCK_ERRORS = 3.0
_STUCK_MOST = 4000
_STUCK_EVERY = 10

NEAR_ZERO = 0.05
NEAR_ZERO_ENTRIES = 5
UNSEEN_TIMES = 6.0
EVAL_TIMES = 10.0
COPIES_SHARE = 0.2

FP16_SKIPS = 33
DEAD_ENTRIES = 5

Finding = tuple[str, dict[str, Any]]
"""What is seen in words, and its figures."""


def spread_of(losses: Sequence[float]) -> float:
    """The standard deviation of a curve around its trend, by the median of the differences between neighbours.

    A slope adds the same to every difference and little to their median; single spikes do not count.

    >>> round(spread_of([1.0, 1.2, 1.0, 1.2, 1.0]), 3)
    0.21
    """
    gaps = [abs(after - before) for before, after in itertools.pairwise(losses)]
    return _NORMAL * statistics.median(gaps) / math.sqrt(2) if gaps else 0.0


def stride_of(sample: Sample, count: int) -> float:
    """Updates that a line of the log stands for, when there have been ``count`` lines."""
    return max(1.0, sample.step / max(1, count))


@dataclass(slots=True)
class NotFinite:
    """A loss or a norm of the gradients that is not a finite number.

    With ``fp16`` the scale of the loss is found by trial: it is halved after each overflow, from 2¹⁶ on.

    Attributes:
        is_scaled: whether the training uses ``fp16``.
    """

    is_scaled: bool = False
    _in_a_row: int = 0
    _zeros: int = 0
    _was_above: bool = False

    def check(self, sample: Sample) -> Finding | None:
        """Look at the next line."""
        if sample.loss is None:
            return None
        figures = {"loss": str(sample.loss), "grad_norm": None if sample.grad_norm is None else str(sample.grad_norm)}
        if not math.isfinite(sample.loss):
            return f"the loss is {sample.loss}", figures
        if sample.grad_norm is not None and not math.isfinite(sample.grad_norm):
            self._in_a_row += 1
            if self._in_a_row >= (FP16_SKIPS if self.is_scaled else 1):
                return f"the norm of the gradients is {sample.grad_norm}", figures
            return None
        self._in_a_row = 0
        # The trainer logs 0 for a loss of NaN; without the gradients, that is all that shows it.
        self._zeros = self._zeros + 1 if sample.loss == 0.0 and sample.grad_norm is None else 0
        self._was_above = self._was_above or sample.loss > NEAR_ZERO
        if self._zeros >= DEAD_ENTRIES and self._was_above:
            return "the loss is logged as exactly 0, as the trainer does for NaN", figures
        return None


@dataclass(slots=True)
class Spike:
    """A loss that has risen and stays above all that it was in its best stretch.

    Attributes:
        before: lines of the stretch to compare with.
        least_before: fewer than these say nothing.
    """

    before: int = BEFORE
    least_before: int = LEAST_BEFORE
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=GROUPED_BEFORE + MOST_HIGH))
    _first: list[float] = field(default_factory=list)
    _best: list[float] = field(default_factory=list)
    _count: int = 0

    def check(self, sample: Sample) -> Finding | None:
        """Look at the next line."""
        if sample.loss is None or not math.isfinite(sample.loss):
            return None
        self._count += 1
        self._recent.append(sample.loss)
        stride = stride_of(sample, self._count)
        wanted = min(MOST_HIGH, sample.total_steps // 4) if sample.total_steps else MOST_HIGH
        high = max(LEAST_HIGH, math.ceil(wanted / stride))
        recent = list(self._recent)
        now, prior = recent[-high:], recent[:-high][-self.before :]
        if len(prior) < self.least_before:
            return None
        if len(self._first) < NEAR_ZERO_ENTRIES:
            self._first.append(recent[-high - 1])
        if not self._best or statistics.median(prior) <= statistics.median(self._best):
            self._best = prior
        return self._compare(now, round(high * stride))

    def _compare(self, now: list[float], updates: int) -> Finding | None:
        ceiling = max(self._best)
        if min(now) <= ceiling:
            return None
        best, level = statistics.median(self._best), statistics.median(now)
        error = 1.25 * max(spread_of(self._best), spread_of(now)) * math.sqrt(1 / len(self._best) + 1 / len(now))
        gained = max(0.0, statistics.median(self._first) - best)
        least = best + max(RISE_NATS, RISE_ERRORS * error, RISE_OF_GAIN * gained, (RISE_RATIO - 1) * best)
        if level < least:
            return None
        text = f"the loss was {best:.4g} and has been {level:.4g} for {updates} updates, never below {min(now):.4g}"
        return text, {"before": best, "highest_before": ceiling, "now": level, "lowest_now": min(now)}


@dataclass(slots=True)
class Stuck:
    """A loss that has provably not fallen by a hundredth.

    Attributes:
        rate: the recipe's learning rate; an update at half of it counts half.
    """

    rate: float | None = None
    _entries: list[Sample] = field(default_factory=list)
    _full: float = 0.0

    def check(self, sample: Sample) -> Finding | None:
        """Look at the next line."""
        if sample.loss is None or not math.isfinite(sample.loss) or len(self._entries) >= _STUCK_MOST:
            return None
        self._entries.append(sample)
        part = sample.learning_rate / self.rate if sample.learning_rate is not None and self.rate else 1.0
        if math.isfinite(part):
            self._full += min(1.0, max(0.0, part)) * stride_of(sample, len(self._entries))
        count = len(self._entries)
        if self._full < STUCK_UPDATES or count < STUCK_ENTRIES or count % _STUCK_EVERY:
            return None
        return self._by_passes(sample) or self._by_halves(sample)

    def _by_passes(self, sample: Sample) -> Finding | None:
        """The same rows again and again: the means of whole passes differ by what was learned alone."""
        passes: dict[int, list[float]] = {}
        for entry in self._entries:
            if entry.epoch is None or not math.isfinite(entry.epoch):
                return None
            passes.setdefault(math.ceil(entry.epoch - 1e-6), []).append(entry.loss or 0.0)
        whole = [losses for number, losses in sorted(passes.items()) if number < (sample.epoch or 0.0)]
        if len(whole) < 2 or min(map(len, whole)) < NEAR_ZERO_ENTRIES:  # noqa: PLR2004 - two passes to compare
            return None
        means = [statistics.fmean(losses) for losses in whole]
        moved = max(means) - min(means)
        if moved >= STUCK_SHARE * abs(means[0]):
            return None
        text = f"passes over the same rows have mean losses from {min(means):.4g} to {max(means):.4g}"
        return text, {"first_pass": means[0], "last_pass": means[-1], "passes": len(means)}

    def _by_halves(self, sample: Sample) -> Finding | None:
        """Early and late lines: even with three standard errors on top, the loss has not fallen by a hundredth."""
        losses = [entry.loss or 0.0 for entry in self._entries]
        early, late = losses[: len(losses) // 2], losses[len(losses) // 2 :]
        error = math.sqrt(statistics.variance(early) / len(early) + statistics.variance(late) / len(late))
        mean = statistics.fmean(early)
        fallen = mean - statistics.fmean(late)
        if abs(fallen) + STUCK_ERRORS * error >= STUCK_SHARE * abs(mean):
            return None
        text = f"the loss was {mean:.4g} and is {mean - fallen:.4g} after {sample.step} updates"
        return text, {"early": mean, "late": mean - fallen, "standard_error": error}


@dataclass(slots=True)
class NearZero:
    """A loss near 0 on rows that were seen before.

    Attributes:
        copies: asks which part of the rows are copies of others; None where that is not known. Asked once at most.
    """

    copies: Callable[[], float | None]
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=NEAR_ZERO_ENTRIES))
    _unseen: list[float] = field(default_factory=list)
    _first: float = 0.0
    _eval: float | None = None
    _has_eval: bool = False
    _share: float | None = None
    _has_asked: bool = False

    def check(self, sample: Sample) -> Finding | None:
        """Look at the next line."""
        if sample.loss is not None and math.isfinite(sample.loss):
            self._first = self._first or sample.loss
            self._recent.append(sample.loss)
            if sample.epoch is None or sample.epoch <= 1.0 or not self._unseen:
                self._unseen = list(self._recent)
        is_low = len(self._recent) == NEAR_ZERO_ENTRIES and statistics.median(self._recent) < NEAR_ZERO
        if sample.eval_loss is not None:  # one that is older than the low losses says nothing of them
            self._has_eval, self._eval = True, sample.eval_loss if is_low else None
        if not is_low or self._first < UNSEEN_TIMES * NEAR_ZERO:
            return None
        now = statistics.median(self._recent)
        why = self._why(now, is_first_pass=sample.epoch is None or sample.epoch <= 1.0)
        if why is None:
            return None
        text = f"the loss is {now:.2g} after {sample.step} updates ({self._first:.4g} at first), {why}"
        return text, {"now": now, "first": self._first, "epoch": sample.epoch, "eval_loss": self._eval}

    def _why(self, now: float, *, is_first_pass: bool) -> str | None:
        if self._has_eval:
            is_apart = self._eval is not None and self._eval >= max(EVAL_TIMES * now, UNSEEN_TIMES * NEAR_ZERO)
            return f"and {self._eval:.4g} on the evaluation's rows" if is_apart else None
        if not is_first_pass:
            unseen = statistics.median(self._unseen)
            return f"and was {unseen:.4g} on new rows" if unseen >= UNSEEN_TIMES * NEAR_ZERO else None
        if not self._has_asked:
            self._has_asked, self._share = True, self.copies()
        if self._share is None or self._share < COPIES_SHARE:
            return None
        return f"{self._share:.0%} of the rows are copies of others"


@dataclass(slots=True)
class AlwaysZero:
    """A figure that was exactly 0 in each update so far.

    Attributes:
        name: the sample's attribute.
        what: the figure in words.
        is_scaled: whether the training uses ``fp16``, whose first updates may all be left out.
    """

    name: str
    what: str
    is_scaled: bool = False
    _zeros: int = 0
    _is_moving: bool = False

    def check(self, sample: Sample) -> Finding | None:
        """Look at the next line."""
        value = getattr(sample, self.name)
        if value is None or sample.loss is None or self._is_moving:
            return None
        self._is_moving = value != 0.0
        self._zeros += 1
        if self._is_moving or self._zeros < (FP16_SKIPS if self.is_scaled else DEAD_ENTRIES):
            return None
        return f"{self.what} was 0 in all of the {sample.step} updates so far", {self.name: 0.0, "loss": sample.loss}
