"""The schedule of a training: how many updates it makes, and the learning rate of each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.engine.keys import DEFAULT_EPOCHS, DEFAULT_LEARNING_RATE, DEFAULT_SCHEDULER, EPOCHS_KEY
from lfwrap.units import plural

FEW_UPDATES = 20
"""Fewer updates with a learning rate above 0 than this are warned about.

Adam's running mean of gradients forgets with β₁ = 0.9: after 1 / (1 - β₁) = 10 updates it first rests on the data, and
the usual warm-up of 5 to 10% and the decay to 0 take the rest of a shorter run. The fewest updates with which published
recipes for small sets of instructions train are of this size: LIMA's 1,000 rows at 64 make 16 an epoch, in 15 epochs.
"""

_Factor = Callable[[int, int, int, Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The updates of a training.

    Attributes:
        rows: rows of an epoch; None where they are not known.
        rows_per_update: rows that an update sees, on average.
        updates_per_epoch: updates of an epoch; None where the rows are not known.
        updates: all updates.
        warmup_updates: those in which the learning rate rises; the first of them is at 0.
        peak: the recipe's learning rate.
        scheduler: how it falls, the engine's ``lr_scheduler_type``.
        scheduler_values: the engine's ``lr_scheduler_kwargs``.
        trained_tokens: tokens of answers in an update, which alone are trained; None where they are not known.
    """

    rows: int | None
    rows_per_update: float
    updates_per_epoch: int | None
    updates: int
    warmup_updates: int
    peak: float
    scheduler: str = DEFAULT_SCHEDULER
    scheduler_values: Mapping[str, Any] | None = None
    trained_tokens: float | None = None

    @property
    def epochs(self) -> float | None:
        """How often a row is seen; None where the rows are not known."""
        return None if self.updates_per_epoch is None else self.updates / self.updates_per_epoch

    @property
    def is_known(self) -> bool:
        """Whether the learning rates of this scheduler are known."""
        return self.scheduler in _FACTORS

    def learning_rate(self, update: int) -> float | None:
        """The learning rate of an update, counted from 1; None where the scheduler or its values are not known.

        >>> schedule = Schedule(128, 128.0, 1, 1, 1, 2e-4, "cosine")
        >>> schedule.learning_rate(1)
        0.0
        """
        factor = _FACTORS.get(self.scheduler)
        if factor is None:
            return None
        try:
            return self.peak * factor(update - 1, self.warmup_updates, self.updates, self.scheduler_values or {})
        except (TypeError, ValueError):  # num_cycles: many
            return None

    @property
    def learning_updates(self) -> int | None:
        """Updates whose learning rate is above 0; None where the scheduler is not known."""
        rates = self._rates()
        return None if rates is None else sum(1 for rate in rates if rate)

    def _rates(self) -> list[float] | None:
        rates = [rate for update in range(1, self.updates + 1) if (rate := self.learning_rate(update)) is not None]
        return rates if len(rates) == self.updates else None

    def __str__(self) -> str:
        """The schedule in words.

        >>> print(Schedule(1000, 128.0, 8, 8, 1, 2e-4, "cosine"))
        8 updates, 7 with a learning rate above 0 (at most 2e-04), each row seen once
        """
        rates = self._rates() or [self.peak]
        learning, highest = sum(1 for rate in rates if rate), float(f"{max(rates):.6g}")
        some = "" if learning == len(rates) else f", {learning} with a learning rate above 0"
        times = "" if self.epochs is None else f", each row seen {_times(self.epochs)}"
        short = (form for form in (f"{highest:.0e}", f"{highest:.1e}") if float(form) == highest)
        rate = next(short, f"{highest:.2g}") if highest else "0"
        tokens = "" if self.trained_tokens is None else f", about {self.trained_tokens:,.0f} trained tokens in each"
        return f"{plural(self.updates, 'update')}{some} (at most {rate}){times}{tokens}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the learning rates of the first, the middle and the last update."""
        shown = sorted({1, (self.updates + 1) // 2, self.updates})
        return {
            "rows": self.rows,
            "rows_per_update": self.rows_per_update,
            "trained_tokens_per_update": None if self.trained_tokens is None else round(self.trained_tokens),
            "updates": self.updates,
            "updates_per_epoch": self.updates_per_epoch,
            "epochs": self.epochs,
            "warmup_updates": self.warmup_updates,
            "learning_updates": self.learning_updates,
            "learning_rates": {str(update): _rounded(self.learning_rate(update)) for update in shown},
        }


def _rounded(rate: float | None) -> float | None:
    """The rate to six digits: the last ones of a cosine are the processor's own."""
    return None if rate is None else float(f"{rate:.6g}")


def _times(epochs: float) -> str:
    return "once" if epochs == 1 else f"{epochs:.3g} times"


def count_updates(values: Mapping[str, Any], rows: int | None, rows_per_update: float | None) -> int | None:
    """All updates of a training, as transformers' trainer counts; None where neither rows nor ``max_steps`` are known.

    An epoch has rows ÷ rows of an update, rounded up; all epochs are rounded up once more.

    Args:
        values: the engine's keys.
        rows: rows of an epoch; None where they are not known.
        rows_per_update: rows of an update; None likewise.

    >>> count_updates({"num_train_epochs": 1.5}, 1000, 128), count_updates({"max_steps": 7}, None, None)
    (12, 7)
    """
    most = values.get("max_steps")
    if isinstance(most, int) and most > 0:
        return most
    if rows is None or rows_per_update is None:
        return None
    return max(1, math.ceil(float(values.get(EPOCHS_KEY) or DEFAULT_EPOCHS) * _per_epoch(rows, rows_per_update)))


def _per_epoch(rows: int, rows_per_update: float) -> int:
    return max(1, math.ceil(rows / rows_per_update))


def make_schedule(
    values: Mapping[str, Any], rows: int | None, rows_per_update: float, row_trained_tokens: float | None = None
) -> Schedule | None:
    """The schedule that the engine will follow; None where neither the rows nor ``max_steps`` are known.

    The updates are those of `count_updates`. A warm-up below 1 is a part of all of them, rounded up.

    Args:
        values: the engine's keys.
        rows: rows of an epoch, without those kept for evaluation.
        rows_per_update: rows of an update; with packing their mean number.
        row_trained_tokens: mean tokens of a row's answers; None where they are not known.

    >>> make_schedule({"num_train_epochs": 1.0, "warmup_steps": 0.1, "learning_rate": 2e-4}, 1000, 128).updates
    8
    """
    updates = count_updates(values, rows, rows_per_update)
    if updates is None:
        return None
    return Schedule(
        rows=rows,
        rows_per_update=rows_per_update,
        updates_per_epoch=None if rows is None else _per_epoch(rows, rows_per_update),
        updates=updates,
        warmup_updates=_warmup(values, updates),
        peak=DEFAULT_LEARNING_RATE if values.get("learning_rate") is None else float(values["learning_rate"]),
        scheduler=str(values.get("lr_scheduler_type") or DEFAULT_SCHEDULER),
        scheduler_values=_scheduler_values(values.get("lr_scheduler_kwargs")),
        trained_tokens=None if row_trained_tokens is None else row_trained_tokens * rows_per_update,
    )


def _scheduler_values(value: Any) -> Mapping[str, Any]:
    """The engine takes a mapping, or JSON text of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _warmup(values: Mapping[str, Any], updates: int) -> int:
    """As transformers 5 takes it: the old ``warmup_ratio`` wins over ``warmup_steps``, of which a part is below 1."""
    warmup = float(values.get("warmup_ratio") or values.get("warmup_steps") or 0.0)
    return int(warmup) if warmup >= 1 else math.ceil(updates * warmup)


def _rising(done: int, warmup: int) -> float | None:
    return done / max(1, warmup) if done < warmup else None


def _linear(done: int, warmup: int, updates: int, _values: Mapping[str, Any]) -> float:
    rising = _rising(done, warmup)
    return max(0.0, (updates - done) / max(1, updates - warmup)) if rising is None else rising


def _cosine(done: int, warmup: int, updates: int, values: Mapping[str, Any]) -> float:
    rising = _rising(done, warmup)
    if rising is not None:
        return rising
    progress = (done - warmup) / max(1, updates - warmup)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * float(values.get("num_cycles", 0.5)) * 2.0 * progress)))


def _cosine_with_restarts(done: int, warmup: int, updates: int, values: Mapping[str, Any]) -> float:
    rising = _rising(done, warmup)
    if rising is not None:
        return rising
    progress = (done - warmup) / max(1, updates - warmup)
    cycle = (float(values.get("num_cycles", 1)) * progress) % 1.0
    return 0.0 if progress >= 1.0 else max(0.0, 0.5 * (1.0 + math.cos(math.pi * cycle)))


def _constant_with_warmup(done: int, warmup: int, _updates: int, _values: Mapping[str, Any]) -> float:
    rising = _rising(done, warmup)
    return 1.0 if rising is None else rising


def _constant(_done: int, _warmup: int, _updates: int, _values: Mapping[str, Any]) -> float:
    return 1.0


def _inverse_sqrt(done: int, warmup: int, _updates: int, values: Mapping[str, Any]) -> float:
    rising = _rising(done, warmup)
    if rising is not None:
        return rising
    timescale = float(values.get("timescale") or warmup or 10_000)
    return 1.0 / math.sqrt((done + timescale - warmup) / timescale)


# What is written down here is held equal to transformers' own schedulers by a test; of the others nothing is said.
_FACTORS: Mapping[str, _Factor] = {
    "linear": _linear,
    "cosine": _cosine,
    "cosine_with_restarts": _cosine_with_restarts,
    "constant": _constant,
    "constant_with_warmup": _constant_with_warmup,
    "inverse_sqrt": _inverse_sqrt,
}
