"""Chance that is the same on every machine and in every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A seeded stream of choices.

    Only ``Random.random`` is used: of all methods it alone is promised to give the same numbers for ever.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random  # noqa: S311 - repeatable, not secret

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1."""
        return int(self._random() * limit)

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self._random() < share

    def pick(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[self.below(len(values))]

    def weighted(self, weights: Sequence[tuple[T, float]]) -> T:
        """One of the values, each as often as its weight says."""
        left = self._random() * sum(weight for _, weight in weights)
        for value, weight in weights:
            left -= weight
            if left < 0:
                return value
        return weights[-1][0]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """The values in another order."""
        rest = list(values)
        return [rest.pop(self.below(len(rest))) for _ in values]

    def some(self, values: Sequence[T], count: int) -> list[T]:
        """So many different ones of the values, or all if there are fewer."""
        return self.shuffled(values)[:count]
