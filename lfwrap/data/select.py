"""The second pass, where rows are chosen: samples, weights, near-duplicates, test sets, a number for validation."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lfwrap.data.gather import Gatherer
from lfwrap.data.mix import Part, chosen_ranks, quotas
from lfwrap.data.split import ValSize
from lfwrap.errors import DataError

SAMPLED_OUT = "not sampled"
IN_TEST_SET = "asked in the test set"
NEAR_DUPLICATE = "near-duplicates"


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows are chosen.

    Attributes:
        parts: the sources of the mixture.
        part_of: for each file its part.
        val_size: what is kept for validation, or None.
        in_test_set: whether a line asks what the test set asks, or None.
        is_near_duplicate: whether a line nearly repeats one that it was asked about before, or None.
    """

    parts: Sequence[Part]
    part_of: Sequence[int]
    val_size: ValSize | None = None
    in_test_set: Callable[[bytes], bool] | None = None
    is_near_duplicate: Callable[[bytes], bool] | None = None


def choose_rows(gathered: Gatherer, choice: Choice) -> None:
    """Rewrite the staged files with the chosen rows only, split; the report follows.

    Raises:
        DataError: nothing would be left to train on.
    """
    kept = _kept_rows(gathered, choice)
    limit = _val_limit([rank for rank, keep in zip(gathered.ranks, kept, strict=True) if keep], choice.val_size)
    report = gathered.report
    report.train_rows = report.val_rows = 0
    everything = gathered.train.with_suffix(".all")
    gathered.train.rename(everything)
    with everything.open("rb") as source, gathered.train.open("wb") as train, gathered.val.open("wb") as val:
        for line, rank, keep in zip(source, gathered.ranks, kept, strict=True):
            if keep and rank <= limit:
                val.write(line)
                report.val_rows += 1
            elif keep:
                train.write(line)
                report.train_rows += 1
    everything.unlink()


def _kept_rows(gathered: Gatherer, choice: Choice) -> bytearray:
    """For each row whether it stays; those that don't are counted in the account of their file."""
    owners = array("L", (choice.part_of[owner] for owner in gathered.owners))
    available = {part: owners.count(part) for part in set(owners)}
    limits = chosen_ranks(gathered.ranks, owners, quotas(choice.parts, available))
    kept = bytearray()
    with gathered.train.open("rb") as source:
        for line, rank, part, owner in zip(source, gathered.ranks, owners, gathered.owners, strict=True):
            reason = _reason_to_leave(line, choice, sampled=part not in limits or rank <= limits[part])
            if reason:
                gathered.report.files[owner].left_out[reason] += 1
            kept.append(not reason)
    return kept


def _reason_to_leave(line: bytes, choice: Choice, *, sampled: bool) -> str:
    if not sampled:
        return SAMPLED_OUT
    if choice.in_test_set is not None and choice.in_test_set(line):
        return IN_TEST_SET
    if choice.is_near_duplicate is not None and choice.is_near_duplicate(line):
        return NEAR_DUPLICATE
    return ""


def _val_limit(ranks: Sequence[int], val_size: ValSize | None) -> int:
    """The highest rank that goes to validation."""
    if val_size is None:
        return -1
    if not val_size.count:
        return (val_size.key_threshold >> 64) - 1
    if val_size.count >= len(ranks):
        raise DataError(
            f"--val-size {val_size.count}: there are only {len(ranks):,} rows", hint="Leave rows to train on."
        )
    return heapq.nsmallest(val_size.count, ranks)[-1]
