"""Near-duplicates: rows that say nearly the same, found by MinHash over character 5-grams, and questions of a test set.

Broder, On the resemblance and containment of documents (1997); the sketches and their index are datasketch's.
"""

from __future__ import annotations

import copy
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from lfwrap.errors import PreflightError

_SHINGLE_CHARACTERS = 5
_PERMUTATIONS = 64
# Odd, and far apart in their bits: 32-bit primes as hashes use them. A shingle's number is the sum of its characters'
# code points times these; datasketch scrambles it further.
_WEIGHTS = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)
_NOT_WORDS = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """A text without what paraphrases differ in least: case, width, white space, punctuation.

    >>> normalise("What IS  MiB?"), normalise("Ｗhat is MiB")
    ('whatismib', 'whatismib')
    """
    return _NOT_WORDS.sub("", unicodedata.normalize("NFKC", text).lower())


def questions_of(row: Mapping[str, Any]) -> list[str]:
    """What the user says in a row, normalised.

    >>> questions_of({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]})
    ['why']
    """
    return [normalise(turn["value"]) for turn in row["conversations"] if turn["from"] == "human"]


def contamination(test_lines: Iterable[bytes]) -> Callable[[bytes], bool]:
    """Whether a line asks what a line of the test set asks."""
    asked = {question for line in test_lines for question in questions_of(orjson.loads(line)) if question}
    return lambda line: not asked.isdisjoint(questions_of(orjson.loads(line)))


class NearDuplicates:
    """Rows that were kept, by their sketches; a query takes about 0.05 ms."""

    def __init__(self, threshold: float) -> None:
        """Begin with no rows.

        Args:
            threshold: Jaccard similarity of two rows' 5-grams from which they are nearly the same; the sketches of 64
                numbers estimate it to about ±0.05.

        Raises:
            PreflightError: datasketch is not installed.
        """
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise PreflightError(
                "--near-dedup needs the package datasketch", hint="pip install 'lfwrap[data]'"
            ) from error
        self._threshold = threshold
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._kept: list[Any] = []

    def has(self, numbers: Any) -> bool:
        """Whether a row with this sketch is nearly the same as one that was asked about before; else it is kept."""
        sketch = copy.copy(_blank_sketch())
        sketch.hashvalues = numbers
        if any(self._kept[place].jaccard(sketch) >= self._threshold for place in self._index.query(sketch)):
            return True
        self._index.insert(len(self._kept), sketch, check_duplication=False)
        self._kept.append(sketch)
        return False


def sketch_lines(lines: Sequence[bytes]) -> list[Any]:
    """The 64 numbers of each line's sketch: about 0.2 ms a row of 600 characters, so that processes share the work."""
    return [_sketch(line) for line in lines]


def _sketch(line: bytes) -> Any:
    sketch = copy.copy(_blank_sketch())
    sketch.update_batch(_shingles(line))
    return sketch.hashvalues


@functools.cache
def _blank_sketch() -> Any:
    """A sketch of nothing; copies share its permutations, which take long to draw."""
    from datasketch import MinHash

    return MinHash(num_perm=_PERMUTATIONS, hashfunc=int)


def _shingles(line: bytes) -> set[int]:
    """A number for each 5-gram of a row's texts; all at once, because Python would take longest here."""
    import numpy as np

    text = "\n".join(normalise(turn["value"]) for turn in orjson.loads(line)["conversations"])
    points = np.frombuffer(text.ljust(_SHINGLE_CHARACTERS, "\0").encode("utf-32-le"), dtype=np.uint32)
    count = len(points) - _SHINGLE_CHARACTERS + 1
    weights = np.array(_WEIGHTS, dtype=np.uint32)
    numbers = sum(points[place : place + count] * weight for place, weight in enumerate(weights))
    return set(np.asarray(numbers).tolist())
