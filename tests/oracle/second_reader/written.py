"""What `lfwrap prepare-data` left in a folder: rows in LLaMA-Factory's sharegpt layout, the rejects, the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Outcome:
    """The files of one run; ``refused`` is what it said where it wrote no data set."""

    train: list[Any] = field(default_factory=list)
    val: list[Any] = field(default_factory=list)
    rejects: list[Any] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


def read_outcome(folder: Path, name: str, refused: str = "") -> Outcome:
    """What a run left; nothing but the rejects where it was refused."""
    report = folder / f"{name}.report.json"
    return Outcome(
        [] if refused else _lines(folder / f"{name}.jsonl"),
        [] if refused else _lines(folder / f"{name}_val.jsonl"),
        _lines(folder / f"{name}.rejects.jsonl"),
        json.loads(report.read_text(encoding="utf-8")) if report.exists() and not refused else {},
        refused,
    )


def _lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def assistant_texts(row: Any) -> list[str]:
    """Everything in a written row that is trained."""
    return [turn["value"] for turn in row["conversations"] if turn["from"] in ("gpt", "function_call")]
