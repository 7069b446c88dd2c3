"""Loss curves as real trainings have them, from seeded generators: many shapes, none of them ill."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lfwrap.run.folder.health import Sample


def seeded(seed: int) -> random.Random:
    """Chance that is the same each time."""
    return random.Random(seed)  # noqa: S311


@dataclass(frozen=True)
class Curve:
    """A kind of training.

    Attributes:
        updates: updates in all.
        start: the loss of the untrained model.
        floor: where it ends.
        speed: updates in which the way that is left shrinks to a third.
        noise: standard deviation of an update's loss, as a part of the loss.
        passes: passes over the rows; at each new one the loss drops by a step.
        step: that step, as a part of the loss.
        logging: updates between two lines of the log.
        values: the engine's values.
        shape: multiplies an update's loss, for noise of other shapes.
        warmup: updates of rising learning rate.
        evaluates: evaluation loss over training loss; None without evaluation.
    """

    updates: int = 400
    start: float = 2.5
    floor: float = 1.1
    speed: float = 60.0
    noise: float = 0.06
    passes: float = 1.0
    step: float = 0.0
    logging: int = 1
    values: dict[str, Any] = field(default_factory=dict)
    shape: Callable[[random.Random, int], float] = lambda _rng, _update: 1.0
    warmup: int = 10
    evaluates: float | None = None

    def samples(self, seed: int) -> Iterator[Sample]:
        """The lines of its log."""
        rng = seeded(seed)
        waiting: list[float] = []
        for update in range(1, self.updates + 1):
            epoch = self.passes * update / self.updates
            trend = self.floor + (self.start - self.floor) * math.exp(-max(0, update - self.warmup / 2) / self.speed)
            trend *= (1 - self.step) ** max(0, math.ceil(epoch) - 1)
            waiting.append(max(1e-4, trend * self.shape(rng, update) * (1 + self.noise * rng.gauss(0, 1))))
            if update % self.logging and update < self.updates:
                continue
            rate = 2e-4 * min(1.0, (update - 1) / self.warmup if self.warmup else 1.0)
            rate *= 0.5 * (1 + math.cos(math.pi * update / self.updates))
            norm = 0.8 * math.exp(rng.gauss(0, 0.4)) * trend / self.start
            norm *= 8 if rng.random() < 0.01 else 1
            yield Sample(
                update, self.updates, sum(waiting) / len(waiting), grad_norm=norm, learning_rate=rate, epoch=epoch
            )
            waiting = []
            if self.evaluates is not None and update % max(1, self.updates // 5) == 0:
                yield Sample(update, self.updates, eval_loss=trend * self.evaluates, epoch=epoch)


def _two_kinds(share: float, factor: float) -> Callable[[random.Random, int], float]:
    return lambda rng, _: factor if rng.random() < share else 1.0


def _heavy(rng: random.Random, _: int) -> float:
    return math.exp(rng.gauss(0, 0.35))


def _spikes(rng: random.Random, update: int) -> float:
    return 3.0 * math.exp(-(update % 90) / 3.0) + 1.0 if update > 90 and rng.random() < 0.9 else 1.0


def _sorted_by_length(rng: random.Random, update: int) -> float:
    return 0.8 + 0.8 * ((update - 1) % 50) / 50 + rng.gauss(0, 0.02)


_SHORT_ANSWERS = Curve(start=1.2, floor=0.02, speed=25, noise=0.3, updates=300)

HEALTHY: dict[str, Curve] = {
    "an epoch of chats": Curve(),
    "three epochs with steps": Curve(passes=3, step=0.15, updates=600),
    "a small set, ten epochs": Curve(passes=10, step=0.06, updates=210, noise=0.1, speed=40),
    "21 updates": Curve(updates=21, speed=10, warmup=2, noise=0.05),
    "60 updates": Curve(updates=60, speed=30, warmup=6, noise=0.08),
    "batch 1, noisy": Curve(noise=0.35, updates=800),
    "batch 1, heavy tails": Curve(shape=_heavy, updates=800),
    "a tenth of hard rows": Curve(shape=_two_kinds(0.1, 3.0), updates=600),
    "a third of hard rows": Curve(shape=_two_kinds(0.33, 2.5), updates=600),
    "half of easy rows": Curve(shape=_two_kinds(0.5, 0.2), updates=600, noise=0.15),
    "spikes that come back": Curve(shape=_spikes, updates=700),
    "logged every 10": Curve(updates=2000, logging=10, speed=300),
    "logged every 50": Curve(updates=5000, logging=50, speed=600),
    "continued pretraining": Curve(start=2.31, floor=2.24, speed=300, noise=0.02, updates=800, values={"stage": "pt"}),
    "an instruct model on its own kind of data": Curve(start=0.98, floor=0.9, speed=80, noise=0.07, updates=500),
    "full tuning with a long warm-up": Curve(updates=500, warmup=100, start=1.4, floor=0.9, speed=150, noise=0.05),
    "rows sorted by length": Curve(
        updates=900, shape=_sorted_by_length, values={"train_sampling_strategy": "group_by_length"}
    ),
    "short answers, easily foretold": _SHORT_ANSWERS,
    "short answers, evaluated as well": Curve(
        start=1.2, floor=0.02, speed=40, noise=0.3, updates=400, passes=4, step=0.3, evaluates=1.2
    ),
    "short answers, evaluated before they were learned": Curve(
        updates=100, start=2.5, floor=0.02, speed=8, noise=0.2, evaluates=1.2, warmup=2
    ),
    "a large vocabulary from scratch": Curve(start=11.8, floor=3.2, speed=200, noise=0.03, updates=1500),
    "fp16, scale found by trial": Curve(values={"fp16": True}),
    "preferences": Curve(start=0.69, floor=0.005, speed=30, noise=0.6, passes=3, values={"stage": "dpo"}),
    "from an adapter that knows it already": Curve(
        start=0.8, floor=0.8, noise=0.04, updates=600, values={"adapter_name_or_path": "runs/before"}
    ),
}
