"""Choosing among the rows that were written: samples and weights of sources.

Every choice goes by a row's own key, so that it does not depend on the order of rows, and adding rows moves few others.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lfwrap.data.readers.sources import Part


@dataclass(frozen=True, slots=True)
class Shaping:
    """Which of the valid rows to leave out.

    Attributes:
        near_duplicates: Jaccard similarity from which a row is a near-duplicate of an earlier one, or None.
        test_files: files whose questions must not be trained on.
        last_exchange: keep of each conversation only the last user turn and what follows.
    """

    near_duplicates: float | None = None
    test_files: tuple[str, ...] = ()
    last_exchange: bool = False


def quotas(parts: Sequence[Part], available: Mapping[int, int]) -> dict[int, int]:
    """Part → how many of its rows to take, for those of which not all are.

    Weighted sources give as many rows as they can without repeating any of them.

    >>> quotas([Part("a", rows=10), Part("b", weight=1), Part("c", weight=3)], {0: 50, 1: 100, 2: 90})
    {0: 10, 1: 30}
    """
    wanted = {number: part.rows for number, part in enumerate(parts) if part.rows is not None}
    weighted = {number: part.weight for number, part in enumerate(parts) if part.weight}
    stock = {
        number: min(available.get(number, 0), wanted.get(number) or available.get(number, 0)) for number in weighted
    }
    if weighted:
        unit = min(stock[number] / weight for number, weight in weighted.items())
        wanted |= {number: int(unit * weight + 1e-9) for number, weight in weighted.items()}
    return {number: count for number, count in wanted.items() if count < available.get(number, 0)}


def chosen_ranks(ranks: array[int], owners: array[int], wanted: Mapping[int, int]) -> dict[int, int]:
    """Part → the highest rank that is taken; none of a part that gives no row has -1."""
    limits = {}
    for part, count in wanted.items():
        own = [rank for rank, owner in zip(ranks, owners, strict=True) if owner == part]
        limits[part] = heapq.nsmallest(count, own)[-1] if count else -1
    return limits
