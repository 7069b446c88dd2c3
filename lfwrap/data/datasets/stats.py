"""What a data set holds: rows, turns, tools, calls, scripts, lengths in characters and in tokens."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.datasets.dataset import DatasetRow
from lfwrap.data.datasets.token_counts import TRAINED, TextTokens
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.calls import parse_call_text
from lfwrap.data.formats.parts.texts import split_thought

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
CUTOFFS = (512, 1024, 2048, 4096, 8192)
_CHUNK_ROWS = 512
_LISTED_ROWS = 10
_SCRIPT_CHARACTERS = 120  # of each turn that is asked or answered: its beginning tells, and costs a tenth


# A word of an alphabet weighs as much as one character of the scripts that write words with one or two of them.
_ALPHABETS = {
    "Latin": re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ]+"),
    "Cyrillic": re.compile(r"[Ѐ-ӿ]+"),
    "Greek": re.compile(r"[Ͱ-Ͽ]+"),
    "Arabic": re.compile(r"[\u0600-\u06ff\u0750-\u077f]+"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]+"),
    "Devanagari": re.compile(r"[\u0900-\u097f]+"),
    "Hangul": re.compile(r"[\u1100-\u11ff\uac00-\ud7af]+"),
}
_CHARACTERS = {
    "Han": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f]"),
    "Kana": re.compile(r"[\u3041-\u3096\u30a1-\u30fa]"),
    "Thai": re.compile(r"[\u0e01-\u0e2e]"),
}
_WEIGHED = {**_ALPHABETS, **_CHARACTERS}
_KANA_SHARE = 0.2

OTHER = "other"


def quantiles(values: Sequence[int]) -> dict[str, int]:
    """``p50`` to ``p99.9`` and ``max`` of some whole numbers, by the nearest rank; all 0 of none.

    >>> quantiles([1, 2, 3, 4])
    {'p50': 2, 'p90': 4, 'p95': 4, 'p99': 4, 'p99.9': 4, 'max': 4}
    """
    ordered = sorted(values) or [0]
    ranks = {f"p{share * 100:g}": max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1) for share in QUANTILES}
    return {name: ordered[rank] for name, rank in ranks.items()} | {"max": ordered[-1]}


def histogram(values: Sequence[int], bins: int = 10) -> list[tuple[int, int, int]]:
    """Counts in equal bins from 0 to p99.9, the last of them with all that is above: (from, below, count).

    >>> histogram([0, 1, 5, 9], bins=2)
    [(0, 5, 2), (5, 10, 2)]
    """
    if not values:
        return []
    width = max(1, -(-(quantiles(values)["p99.9"] + 1) // bins))
    counts = Counter(min(value // width, bins - 1) for value in values)
    return [(number * width, (number + 1) * width, counts[number]) for number in range(bins)]


@dataclass(slots=True)
class Lengths:
    """Lengths of rows, in characters or in tokens.

    Attributes:
        total: of everything in each row.
        trained: of what is trained in each row.
    """

    total: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Sums, quantiles, and a histogram of the totals."""
        return {
            "sum": sum(self.total),
            "supervised_sum": sum(self.trained),
            "total": quantiles(self.total),
            "supervised": quantiles(self.trained),
            "histogram": histogram(self.total),
        }


def token_account(lengths: Lengths, counted: str) -> dict[str, Any]:
    """Lengths in tokens, with the rows over common cutoffs; ``counted`` says what was counted."""
    over = {str(cutoff): sum(length > cutoff for length in lengths.total) for cutoff in CUTOFFS}
    return {"counted": counted, **lengths.to_json(), "over": over}


def count_rows(rows: Iterable[DatasetRow], tokens: TextTokens | None = None) -> dict[str, Any]:
    """Everything that can be counted without the engine, as plain values.

    Args:
        rows: the rows of a data set.
        tokens: counts tokens, too; None for characters only.
    """
    tally, lengths = _Tally(), Lengths()
    for chunk in _chunks(rows):
        values = [row.value for row in chunk if row.value is not None]
        tally.unreadable += [(row.number, row.reason) for row in chunk if row.value is None]
        for value in values:
            tally.take(value)
        if tokens is not None:
            for total, trained in tokens.count(values):
                lengths.total.append(total)
                lengths.trained.append(trained)
    found = tally.to_json()
    if tokens is not None:
        found["tokens"] = token_account(lengths, "text, without what the template adds")
    return found


def _chunks(rows: Iterable[DatasetRow]) -> Iterator[list[DatasetRow]]:
    source = iter(rows)
    while chunk := list(itertools.islice(source, _CHUNK_ROWS)):
        yield chunk


@dataclass(slots=True)
class _Tally:
    """Running counts over the rows of a data set."""

    rows: Counter[str] = field(default_factory=Counter)
    turns: Counter[str] = field(default_factory=Counter)
    turns_per_row: Counter[int] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)
    tools_per_row: list[int] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    scripts: Counter[str] = field(default_factory=Counter)
    characters: Lengths = field(default_factory=Lengths)
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def take(self, row: Mapping[str, Any]) -> None:
        """Count one row of the data set."""
        turns: list[dict[str, str]] = row["conversations"]
        kinds = Counter(turn["from"] for turn in turns)
        self.turns.update(kinds)
        self.turns_per_row[len(turns)] += 1
        tools = _tool_names(row["tools"])
        self.tools.update(tools)
        if tools:
            self.tools_per_row.append(len(tools))
        calls = [_called(turn["value"]) for turn in turns if turn["from"] == "function_call"]
        self.calls.update(itertools.chain.from_iterable(calls))
        said = (turn["value"][:_SCRIPT_CHARACTERS] for turn in turns if turn["from"] in ("human", "gpt"))
        self.scripts[script_of(" ".join(said))] += 1
        self._take_lengths(row, turns)
        self.rows.update(
            name
            for name, holds in (
                ("rows", True),
                ("with_system", row["system"]),
                ("with_tools", tools),
                ("with_calls", calls),
                ("with_parallel_calls", any(len(names) > 1 for names in calls)),
                (
                    "with_thoughts",
                    any(turn["value"].startswith("<think>") for turn in turns if turn["from"] in TRAINED),
                ),
                ("with_further_questions", kinds["human"] > 1),
            )
            if holds
        )

    def _take_lengths(self, row: Mapping[str, Any], turns: Sequence[Mapping[str, str]]) -> None:
        spoken = sum(len(turn["value"]) for turn in turns)
        self.characters.total.append(len(row["system"]) + len(row["tools"]) + spoken)
        self.characters.trained.append(sum(len(turn["value"]) for turn in turns if turn["from"] in TRAINED))

    def to_json(self) -> dict[str, Any]:
        """The figures as ``--json`` prints them."""
        kinds = ("with_system", "with_tools", "with_calls", "with_parallel_calls", "with_thoughts",
                 "with_further_questions")  # fmt: skip
        first = [{"row": number, "reason": reason} for number, reason in self.unreadable[:_LISTED_ROWS]]
        return {
            "rows": self.rows["rows"],
            "unreadable": {"rows": len(self.unreadable), "first": first},
            **{kind: self.rows[kind] for kind in kinds},
            "turns": dict(self.turns.most_common()),
            "turns_per_row": dict(sorted(self.turns_per_row.items())),
            "tools": len(self.tools),
            "tools_per_row": quantiles(self.tools_per_row),
            "calls": dict(self.calls.most_common()),
            "never_called": sorted(self.tools.keys() - self.calls.keys()),
            "scripts": dict(self.scripts.most_common()),
            "characters": self.characters.to_json(),
        }


@functools.lru_cache(maxsize=4096)
def _tool_names(text: str) -> tuple[str, ...]:
    """The names in a row's tools; none where they can't be read, which is the engine's business to say."""
    try:
        tools = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return ()
    named = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return tuple(str(tool["name"]) for tool in named if isinstance(tool, dict) and "name" in tool)


def _called(value: str) -> tuple[str, ...]:
    notes = RowNotes()
    try:
        return tuple(call.name for call in parse_call_text(split_thought(value, notes)[1], notes)[1])
    except Reject:
        return ("(unreadable)",)


def script_of(text: str) -> str:
    """The script that a text is mostly written in, as a cheap stand-in for its language: ``Latin``, ``Han``, ….

    It is the one with the most words (alphabets) or characters (Han, Kana and Thai). Text with a fifth of Kana is
    ``Kana``, whatever Han it has besides: it is Japanese. ``other`` without any letter.

    >>> script_of("Good morning"), script_of("早上好"), script_of("おはよう、世界"), script_of("42")
    ('Latin', 'Han', 'Kana', 'other')
    """
    if text.isascii():
        return "Latin" if _ALPHABETS["Latin"].search(text) else OTHER
    weights = {name: len(pattern.findall(text)) for name, pattern in _WEIGHED.items()}
    main = max(weights, key=weights.__getitem__)
    if weights[main] == 0:
        return OTHER
    is_japanese = main == "Han" and weights["Kana"] >= _KANA_SHARE * weights["Han"]
    return "Kana" if is_japanese else main
