"""The second pass, where rows are chosen: samples, weights, near-duplicates, test sets, a number for validation."""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.data.output.mix import chosen_ranks, quotas
from lfwrap.data.output.near_duplicates import NearDuplicates
from lfwrap.data.output.sink import RowSink
from lfwrap.data.output.split import ValSize
from lfwrap.data.readers.sources import Part
from lfwrap.errors import DataError

SAMPLED_OUT = "not sampled"
IN_TEST_SET = "asked in the test set"
NEAR_DUPLICATE = "near-duplicates"
_BATCH_LINES = 128


@dataclass(frozen=True, slots=True)
class Choice:
    """How rows are chosen.

    Attributes:
        parts: the sources of the mixture.
        part_of: for each file its part.
        sketch: sketches batches of lines, in order, for near-duplicates.
        val_size: what is kept for validation, or None.
        in_test_set: whether a line asks what the test set asks, or None.
        near_duplicates: finds rows that nearly repeat earlier ones, or None.
    """

    parts: Sequence[Part]
    part_of: Sequence[int]
    sketch: Callable[[Iterable[list[bytes]]], Iterator[list[Any]]]
    val_size: ValSize | None = None
    in_test_set: Callable[[bytes], bool] | None = None
    near_duplicates: NearDuplicates | None = None


def choose_rows(sink: RowSink, choice: Choice) -> None:
    """Rewrite the staged files with the chosen rows only, split; the report follows.

    Raises:
        DataError: nothing would be left to train on.
    """
    kept = _kept_rows(sink, choice)
    limit = _val_limit([rank for rank, keep in zip(sink.ranks, kept, strict=True) if keep], choice.val_size)
    report = sink.report
    report.train_rows = report.val_rows = 0
    everything = sink.train.with_suffix(".all")
    sink.train.rename(everything)
    with everything.open("rb") as source, sink.train.open("wb") as train, sink.val.open("wb") as val:
        for line, rank, keep in zip(source, sink.ranks, kept, strict=True):
            if keep and rank <= limit:
                val.write(line)
                report.val_rows += 1
            elif keep:
                train.write(line)
                report.train_rows += 1
    everything.unlink()


def _kept_rows(sink: RowSink, choice: Choice) -> bytearray:
    """For each row whether it stays; those that don't are counted in the account of their file."""
    owners = array("L", (choice.part_of[owner] for owner in sink.owners))
    available = {part: owners.count(part) for part in set(owners)}
    limits = chosen_ranks(sink.ranks, owners, quotas(choice.parts, available))
    kept = bytearray()
    with sink.train.open("rb") as source:
        looked_at = (
            (line, _reason_to_leave(line, choice, sampled=part not in limits or rank <= limits[part]))
            for line, rank, part in zip(source, sink.ranks, owners, strict=True)
        )
        for reason, owner in zip(_with_near_duplicates(looked_at, choice), sink.owners, strict=True):
            if reason:
                sink.report.files[owner].left_out[reason] += 1
            kept.append(not reason)
    return kept


def _reason_to_leave(line: bytes, choice: Choice, *, sampled: bool) -> str:
    if not sampled:
        return SAMPLED_OUT
    if choice.in_test_set is not None and choice.in_test_set(line):
        return IN_TEST_SET
    return ""


def _with_near_duplicates(looked_at: Iterator[tuple[bytes, str]], choice: Choice) -> Iterator[str]:
    """The reason to leave each line, if there is any; lines that are left out already are not compared."""
    near_duplicates = choice.near_duplicates
    if near_duplicates is None:
        yield from (reason for _, reason in looked_at)
        return
    waiting: deque[list[str]] = deque()

    def batches() -> Iterator[list[bytes]]:
        """The rows' lines, some hundreds at a time."""
        while batch := list(itertools.islice(looked_at, _BATCH_LINES)):
            waiting.append([reason for _, reason in batch])
            yield [line for line, reason in batch if not reason]

    for sketches in choice.sketch(batches()):
        fresh = iter(sketches)
        for reason in waiting.popleft():
            yield reason or (NEAR_DUPLICATE if near_duplicates.has(next(fresh)) else "")


def _val_limit(ranks: Sequence[int], val_size: ValSize | None) -> int:
    """The highest rank that goes to validation."""
    if val_size is None:
        return -1
    if not val_size.count:
        return (val_size.key_threshold >> 64) - 1
    if val_size.count >= len(ranks):
        raise DataError(
            f"--val-size {val_size.count}: of {len(ranks):,} rows none would be left to train on",
            hint="Give a smaller number, or a share such as --val-size 5%.",
        )
    return heapq.nsmallest(val_size.count, ranks)[-1]
