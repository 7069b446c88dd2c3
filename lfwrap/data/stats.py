"""What a written data set holds: rows, turns, tools, calls, languages, lengths."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from lfwrap.data.registry import read_registry
from lfwrap.errors import DataError

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_THOUGHT = re.compile(r"^<think>\n.*?\n</think>\n\n", re.DOTALL)
_SHARE_OF_SCRIPT = 0.2
_SCRIPTS = (
    ("ja", re.compile(r"[぀-ヿ]")),
    ("ko", re.compile(r"[가-힯]")),
    ("zh", re.compile(r"[一-鿿]")),
    ("ru", re.compile(r"[Ѐ-ӿ]")),
    ("ar", re.compile(r"[؀-ۿ]")),
    ("latin", re.compile(r"[A-Za-z]")),
)


def quantiles(values: Sequence[int]) -> dict[str, int]:
    """``p50`` to ``p99.9`` and ``max`` of some whole numbers, by the nearest rank; all 0 of none."""
    ordered = sorted(values) or [0]
    ranks = {f"p{share * 100:g}": max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1) for share in QUANTILES}
    return {name: ordered[rank] for name, rank in ranks.items()} | {"max": ordered[-1]}


def histogram(values: Sequence[int], bins: int = 10) -> list[tuple[int, int, int]]:
    """Counts in equal bins from 0 to p99.9, the last of them with all that is above: (from, below, count)."""
    if not values:
        return []
    width = max(1, -(-(quantiles(values)["p99.9"] + 1) // bins))
    counts = Counter(min(value // width, bins - 1) for value in values)
    return [(number * width, (number + 1) * width, counts[number]) for number in range(bins)]


def language_of(text: str) -> str:
    """The script that a text is mostly in: ``zh``, ``ja``, ``ko``, ``ru``, ``ar``, ``latin`` or ``other``.

    Kana make a text Japanese, whatever Han characters it has besides.
    """
    letters = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS}
    total = sum(letters.values())
    if not total:
        return "other"
    return next((name for name, count in letters.items() if count / total >= _SHARE_OF_SCRIPT), "latin")


def dataset_file(folder: Path, name: str) -> Path:
    """The file of a registered data set of ours.

    Raises:
        DataError: no such data set, or not one that prepare-data wrote.
    """
    entries = read_registry(folder)
    if name not in entries:
        raise DataError(
            f"{folder}: no data set named {name}; there are {', '.join(entries) or 'none'}",
            hint="Name the folder with --dir.",
        )
    path = folder / str(entries[name].get("file_name", ""))
    if path.suffix != ".jsonl" or entries[name].get("formatting") != "sharegpt" or not path.is_file():
        raise DataError(
            f"{name}: not written by lfwrap prepare-data, or its file {path.name} is gone",
            hint="Run its source through lfwrap prepare-data first.",
        )
    return path


def read_rows(path: Path) -> Iterable[dict[str, Any]]:
    """The rows of a data set's file."""
    with path.open("rb") as source:
        for line in source:
            yield orjson.loads(line)


def count_rows(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Rows, turns, tools, calls for each tool, languages and characters."""
    turns: Counter[int] = Counter()
    calls: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    tools: set[str] = set()
    characters, with_tools, with_system, thoughts = [], 0, 0, 0
    for row in rows:
        conversation = row["conversations"]
        turns[len(conversation)] += 1
        characters.append(sum(len(turn["value"]) for turn in conversation) + len(row["system"]) + len(row["tools"]))
        languages[language_of(next((turn["value"] for turn in conversation if turn["from"] == "human"), ""))] += 1
        with_system += bool(row["system"])
        with_tools += bool(row["tools"])
        thoughts += any("<think>" in turn["value"] for turn in conversation)
        tools.update(_tool_names(row["tools"]))
        for turn in conversation:
            if turn["from"] == "function_call":
                calls.update(_called(turn["value"]))
    return {
        "rows": len(characters),
        "turns": dict(sorted(turns.items())),
        "with_system": with_system,
        "with_tools": with_tools,
        "with_thoughts": thoughts,
        "tools": len(tools),
        "calls": dict(calls.most_common()),
        "languages": dict(languages.most_common()),
        "characters": quantiles(characters),
        "histogram": histogram(characters),
    }


def _tool_names(text: str) -> list[str]:
    if not text:
        return []
    return [str(tool.get("function", tool).get("name", "")) for tool in json.loads(text)]


def _called(value: str) -> list[str]:
    match = _CALL.search(value)
    calls = json.loads(match.group(1) if match else _THOUGHT.sub("", value))
    return [str(call["name"]) for call in (calls if isinstance(calls, list) else [calls])]
