"""How long a data set's rows are, and what becomes of them in batches and in packs. Pure arithmetic."""

from __future__ import annotations

import functools
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

# Rows that the engine packs together (`preprocessing_batch_size`), unless its workers get fewer.
DEFAULT_PACKED_TOGETHER = 1000
_NEARLY_ALL = 0.9
_MULTIPLE = 8  # to which the engine pads a training batch
# transformers' LengthGroupedSampler sorts this many batches at a time, or a quarter of all.
_SORTED_BATCHES, _SORTED_SHARE = 50, 4
# How full packs are is told by so many groups; how long rows are, by all.
_PACKED_GROUPS = 3
# Where only the mean is known: how full packs are, and the padding of grouped batches for each doubling of the batch.
_FILLED = 0.9
_GROUPED_PADDING = 0.14


@dataclass(frozen=True, slots=True)
class RowLengths:
    """How long the data's rows are, in tokens, and how many there are; None where it is not known.

    Attributes:
        longest_tokens: the longest, at most the cutoff: what memory is planned for.
        mean_tokens: the mean, for time and packing.
        count: rows of an epoch.
        lengths: of single rows, cut at the cutoff, in the data's order; empty where they are not known.
        basis: how it is known, in words.
        is_exact: whether tokens were counted, so that packs can be counted too.
    """

    longest_tokens: int
    mean_tokens: float | None = None
    count: int | None = None
    lengths: tuple[int, ...] = ()
    basis: str = ""
    is_exact: bool = True

    def pads(self, micro_batch: int) -> bool:
        """Whether a micro-batch may have padding: the engine fills it up to its longest row and a multiple of 8."""
        if not (self.lengths and self.is_exact):
            return True
        if any(length % _MULTIPLE for length in self.lengths):  # nearly always told by one of the first
            return True
        return micro_batch > 1 and min(self.lengths) < self.longest_tokens

    @property
    def are_alike(self) -> bool:
        """Whether nearly all rows have one length, as texts cut at the cutoff do: so has nearly every micro-batch."""
        if not (self.lengths and self.is_exact):
            return False
        return self.lengths.count(self.longest_tokens) >= _NEARLY_ALL * len(self.lengths)

    def cut(self, cutoff: int) -> RowLengths:
        """The rows as the engine cuts them."""
        lengths = tuple(min(length, cutoff) for length in self.lengths)
        longest = min(self.longest_tokens, cutoff)
        mean = sum(lengths) / len(lengths) if lengths else self.mean_tokens
        mean = None if mean is None else min(mean, float(longest))
        return RowLengths(longest, mean, self.count, lengths, self.basis, self.is_exact)


@dataclass(frozen=True, slots=True)
class Packs:
    """What packing makes of the rows.

    Attributes:
        rows_per_pack: on average.
        filled: the part of a pack that is no padding.
    """

    rows_per_pack: float
    filled: float


def pack_rows(rows: RowLengths, capacity: int, packed_together: int = DEFAULT_PACKED_TOGETHER) -> Packs | None:
    """Packs of ``capacity`` tokens, as the engine fills them; None where the rows' length is unknown.

    Args:
        rows: the rows.
        capacity: the cutoff.
        packed_together: rows from which packs are filled; the next so many fill packs of their own.
    """
    if rows.mean_tokens is None:
        return None
    if not rows.lengths:
        each = max(1.0, capacity * _FILLED / rows.mean_tokens)
        return Packs(each, min(1.0, each * rows.mean_tokens / capacity))
    sample = rows.lengths[: _PACKED_GROUPS * packed_together]
    filled = sum(sample) / (_count_packs(sample, capacity, packed_together) * capacity)
    return Packs(capacity * filled / rows.mean_tokens, filled)


@functools.lru_cache(maxsize=256)
def _count_packs(lengths: tuple[int, ...], capacity: int, packed_together: int) -> int:
    """Packs of all rows: of each group, the longest row that still fits is put into the pack, again and again."""
    packs = 0
    for start in range(0, len(lengths), packed_together):
        left = sorted(lengths[start : start + packed_together])
        while left:
            packs += 1
            room = capacity
            while (fitting := bisect_right(left, room)) > 0:
                room -= left.pop(fitting - 1)
            if room == capacity:  # a row that is longer than a pack
                left.pop()
    return packs


def padded_row_tokens(rows: RowLengths, micro_batch: int, update_rows: int, *, grouped: bool) -> float | None:
    """Tokens of a typical row with its padding, which makes it as long as the longest of its micro-batch.

    Args:
        rows: the rows.
        micro_batch: rows that are padded together.
        update_rows: rows of one process an update, which length grouping takes as its batch.
        grouped: whether rows of like length share a batch.
    """
    if rows.mean_tokens is None:
        return None
    if not rows.lengths:
        spread = 1 + _GROUPED_PADDING * math.log2(micro_batch) if grouped else _harmonic(micro_batch)
        return min(float(rows.longest_tokens), rows.mean_tokens * spread)
    if micro_batch == 1:
        return rows.mean_tokens
    if grouped:
        return _grouped_mean(rows.lengths, micro_batch, update_rows)
    return _expected_longest(rows.lengths, micro_batch)


def _harmonic(count: int) -> float:
    """The longest of so many rows in means, were their lengths spread like an exponential distribution."""
    return sum(1 / number for number in range(1, count + 1))


@functools.lru_cache(maxsize=256)
def _expected_longest(lengths: tuple[int, ...], count: int) -> float:
    """The longest of ``count`` rows drawn at random, on average."""
    ordered, total = sorted(lengths), len(lengths)
    return sum(
        length * ((rank / total) ** count - ((rank - 1) / total) ** count) for rank, length in enumerate(ordered, 1)
    )


@functools.lru_cache(maxsize=256)
def _grouped_mean(lengths: tuple[int, ...], micro_batch: int, update_rows: int) -> float:
    """Tokens of a row with its padding where transformers groups rows by length."""
    batches = max(1, min(len(lengths) // (update_rows * _SORTED_SHARE), _SORTED_BATCHES))
    shuffled = random.Random(0).sample(lengths, len(lengths))  # noqa: S311 - an order, no secret
    ordered: list[int] = []
    for start in range(0, len(shuffled), batches * update_rows):
        ordered += sorted(shuffled[start : start + batches * update_rows], reverse=True)
    return _mean_of_longest(ordered, micro_batch)


def _mean_of_longest(ordered: Sequence[int], micro_batch: int) -> float:
    groups = [ordered[start : start + micro_batch] for start in range(0, len(ordered), micro_batch)]
    return sum(max(group) * len(group) for group in groups) / len(ordered)
