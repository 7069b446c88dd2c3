"""The lengths of a data set's rows in tokens, and what follows from them: padding in batches, rows in packs."""

from __future__ import annotations

import functools
import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Rows that the engine packs together (`preprocessing_batch_size`), unless its workers get fewer.
DEFAULT_PACKED_TOGETHER = 1000
_NEARLY_ALL = 0.9
_MULTIPLE = 8  # to which the engine pads a training batch
# transformers' LengthGroupedSampler sorts this many batches at a time, or a quarter of all.
_SORTED_BATCHES, _SORTED_SHARE = 50, 4
# The fill of packs is taken from this many groups of rows; the mean length from all rows.
_PACKED_GROUPS = 3
# Assumed where only the mean is known: the filled part of a pack; and the padding of rows grouped by length, as a part
# of the mean for each doubling of the micro-batch.
_FILLED = 0.9
_GROUPED_PADDING = 0.14


@dataclass(frozen=True, slots=True)
class RowLengths:
    """The lengths of the data's rows in tokens, and their number.

    Attributes:
        longest_tokens: length of the longest row, at most the cutoff; memory is planned for it.
        mean_tokens: mean length, for time and packing; None where it is unknown.
        count: rows of an epoch; None where it is unknown.
        lengths: lengths of single rows in the data's order, cut at the cutoff; empty where they are unknown.
        basis: how the lengths are known, in words.
        is_exact: whether tokens were counted, not estimated; only then packs can be counted.
        trained_tokens: mean tokens of a row's answers, which alone are trained, before any cut; None where unknown.
    """

    longest_tokens: int
    mean_tokens: float | None = None
    count: int | None = None
    lengths: tuple[int, ...] = ()
    basis: str = ""
    is_exact: bool = True
    trained_tokens: float | None = None

    def pads(self, micro_batch: int) -> bool:
        """Whether a micro-batch may have padding: the engine pads it to its longest row and a multiple of 8 tokens."""
        if not (self.lengths and self.is_exact):
            return True
        if any(length % _MULTIPLE for length in self.lengths):  # in most data one of the first rows decides
            return True
        return micro_batch > 1 and min(self.lengths) < self.longest_tokens

    @property
    def are_alike(self) -> bool:
        """Whether at least 90% of the rows have one length, as texts cut at the cutoff do."""
        if not (self.lengths and self.is_exact):
            return False
        return self.lengths.count(self.longest_tokens) >= _NEARLY_ALL * len(self.lengths)

    def cut(self, cutoff: int) -> RowLengths:
        """The lengths after the engine has cut every row at ``cutoff`` tokens."""
        lengths = tuple(min(length, cutoff) for length in self.lengths)
        longest = min(self.longest_tokens, cutoff)
        mean = sum(lengths) / len(lengths) if lengths else self.mean_tokens
        mean = None if mean is None else min(mean, float(longest))
        return replace(self, longest_tokens=longest, mean_tokens=mean, lengths=lengths)


@dataclass(frozen=True, slots=True)
class Packs:
    """The packs that the rows are put into.

    Attributes:
        rows_per_pack: rows in a pack, on average.
        filled: the part of a pack's tokens that is not padding, between 0 and 1.
    """

    rows_per_pack: float
    filled: float


def pack_rows(rows: RowLengths, capacity: int, packed_together: int = DEFAULT_PACKED_TOGETHER) -> Packs | None:
    """Packs of ``capacity`` tokens, filled as the engine fills them; None where the rows' length is unknown.

    Args:
        rows: the lengths of the rows.
        capacity: tokens of a pack, which is the cutoff.
        packed_together: rows of a group (`preprocessing_batch_size`); a pack has rows of one group only.

    Example:
        Five rows of 200 tokens fill 1,000 of 1,024.

        >>> pack_rows(RowLengths(200, 200.0, 1000, (200,) * 1000), 1024)
        Packs(rows_per_pack=5.0, filled=0.9765625)
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
    """The number of packs for all rows: from each group, the longest row that still fits goes into the pack next."""
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
    """Mean tokens of a row with its padding, which makes it as long as the longest row of its micro-batch.

    None where the mean length is unknown.

    Args:
        rows: the lengths of the rows.
        micro_batch: rows that are padded together.
        update_rows: rows of one process in an update, which length grouping takes as its batch.
        grouped: whether rows of similar length share a batch (`group_by_length`).

    Example:
        Two rows drawn from half short and half long ones: the longer has 100 tokens with probability 1/4, else 300.

        >>> padded_row_tokens(RowLengths(300, 200.0, 2, (100, 300)), 2, 2, grouped=False)
        250.0
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
    """The expected longest of ``count`` exponentially distributed lengths, as a multiple of their mean: Σ 1/k."""
    return sum(1 / number for number in range(1, count + 1))


@functools.lru_cache(maxsize=256)
def _expected_longest(lengths: tuple[int, ...], count: int) -> float:
    """The expected length of the longest of ``count`` rows drawn at random: Σ length × P(it is the longest)."""
    ordered, total = sorted(lengths), len(lengths)
    return sum(
        length * ((rank / total) ** count - ((rank - 1) / total) ** count) for rank, length in enumerate(ordered, 1)
    )


@functools.lru_cache(maxsize=256)
def _grouped_mean(lengths: tuple[int, ...], micro_batch: int, update_rows: int) -> float:
    """Mean tokens of a row with its padding where transformers' LengthGroupedSampler orders the rows."""
    batches = max(1, min(len(lengths) // (update_rows * _SORTED_SHARE), _SORTED_BATCHES))
    shuffled = random.Random(0).sample(lengths, len(lengths))  # noqa: S311 - an order, no secret
    ordered: list[int] = []
    for start in range(0, len(shuffled), batches * update_rows):
        ordered += sorted(shuffled[start : start + batches * update_rows], reverse=True)
    return _mean_of_longest(ordered, micro_batch)


def _mean_of_longest(ordered: Sequence[int], micro_batch: int) -> float:
    groups = [ordered[start : start + micro_batch] for start in range(0, len(ordered), micro_batch)]
    return sum(max(group) * len(group) for group in groups) / len(ordered)
