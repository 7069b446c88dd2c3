"""Choosing among the rows that were written: samples and weights of sources, near-duplicates, rows of a test set.

Every choice goes by a row's own key, so that it does not depend on the order of rows, and adding rows moves few others.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import PreflightError, UsageError

_SHINGLE_CHARACTERS = 5
_PERMUTATIONS = 64
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mixture.

    Attributes:
        path: a file, folder or glob.
        rows: take this many rows, or None for all.
        weight: take rows in this proportion to the other sources that have a weight, or None.
        format: the input format, or None.
        columns: field → column, beside those given for all.
        encoding: text encoding, or None.
        delimiter: CSV delimiter, or None.
    """

    path: str
    rows: int | None = None
    weight: float | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    delimiter: str | None = None


@dataclass(frozen=True, slots=True)
class Shaping:
    """What to leave out of the rows that are good.

    Attributes:
        near_duplicates: Jaccard similarity from which a row is a near-duplicate of an earlier one, or None.
        test_files: files whose questions must not be trained on.
        last_exchange: keep of each conversation only the last user turn and what follows.
    """

    near_duplicates: float | None = None
    test_files: tuple[str, ...] = ()
    last_exchange: bool = False


def parse_part(text: str) -> Part:
    """``data.jsonl#500`` as 500 rows of it; a file of that very name comes first.

    Raises:
        UsageError: no number after ``#``.
    """
    path, mark, count = text.rpartition("#")
    if not mark or Path(text).exists():
        return Part(text)
    if not count.isdigit() or not int(count):
        raise UsageError(f"{text}: expected a number of rows after '#'", hint="For example: data.jsonl#500")
    return Part(path, rows=int(count))


def quotas(parts: Sequence[Part], available: Mapping[int, int]) -> dict[int, int]:
    """Part → how many of its rows to take, for those of which not all are.

    Weighted sources give as many rows as they can without repeating any of them.
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


def normalise(text: str) -> str:
    """A text without what paraphrases differ in least: case, width, white space, punctuation."""
    return _NOT_WORDS.sub("", unicodedata.normalize("NFKC", text).lower())


def questions_of(row: Mapping[str, Any]) -> list[str]:
    """What the user says in a row, normalised."""
    return [normalise(turn["value"]) for turn in row["conversations"] if turn["from"] == "human"]


def contamination(test_lines: Iterable[bytes]) -> Callable[[bytes], bool]:
    """Whether a line asks what a line of the test set asks."""
    asked = {question for line in test_lines for question in questions_of(orjson.loads(line)) if question}
    return lambda line: not asked.isdisjoint(questions_of(orjson.loads(line)))


def near_duplicate_finder(threshold: float) -> Callable[[bytes], bool]:
    """Whether a line is nearly the same as one that was asked about before (MinHash over character 5-grams).

    Raises:
        PreflightError: datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise PreflightError("--near-dedup needs the package datasketch", hint="pip install 'lfwrap[data]'") from error
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    numbers = iter(range(1 << 62))

    def seen(line: bytes) -> bool:
        sketch = MinHash(num_perm=_PERMUTATIONS)
        sketch.update_batch(list(_shingles(line)))
        near = index.query(sketch)
        if any(known.jaccard(sketch) >= threshold for known in (kept[name] for name in near)):
            return True
        name = next(numbers)
        kept[name] = sketch
        index.insert(name, sketch, check_duplication=False)
        return False

    kept: dict[int, Any] = {}
    return seen


def _shingles(line: bytes) -> Iterator[bytes]:
    text = "\n".join(normalise(turn["value"]) for turn in orjson.loads(line)["conversations"])
    last = max(1, len(text) - _SHINGLE_CHARACTERS + 1)
    return (shingle.encode() for shingle in {text[start : start + _SHINGLE_CHARACTERS] for start in range(last)})
