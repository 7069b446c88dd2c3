"""The check of a new data set: the engine's own loader, converter and template read it, in a separate process."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.datasets.stats import quantiles
from lfwrap.data.output.registry import FILE_NAME, dataset_entry
from lfwrap.engine.contract import EncodeJob
from lfwrap.engine.environment import PARALLEL_TOKENIZER, engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.keys import DEFAULT_CUTOFF
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import DataError

CHECKED_ROWS = 5000
_TIMEOUT_S = 900.0
_LISTED_ROWS = 10
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """The engine that checks a data set, and its settings.

    Attributes:
        engine: the engine.
        template: the chat template, or empty.
        tokenizer: folder or hub id of the model whose tokenizer counts tokens, or None for no count.
        cutoff_len: the length at which training cuts a row, in tokens.
    """

    engine: Engine
    template: str = ""
    tokenizer: str | None = None
    cutoff_len: int = DEFAULT_CUTOFF


def run_encoder(check: EngineCheck, folder: Path, names: Sequence[str], *, render: int = 0) -> list[dict[str, Any]]:
    """Run the worker over data sets of a folder; see the worker ``encode`` for what it gives for each.

    Raises:
        EngineError: the engine can't load what was written, or is broken.
        PreflightError: the engine's Python can't be started.
    """
    job: EncodeJob = {
        "dataset_dir": str(folder.absolute()),
        "names": list(names),
        "template": check.template,
        "tokenizer": check.tokenizer,
        "cutoff_len": check.cutoff_len,
        "render": render,
    }
    # The tokenizer may be one of the hub's; the data sets are ours.
    environment = engine_environment(
        model_is_local=False, runs_model=False, added={**PARALLEL_TOKENIZER, "HF_DATASETS_OFFLINE": "1"}
    )
    text = FailureText(
        "the engine can't load what was written",
        hint="--no-engine-check writes the data set all the same.",
        log_lines=_TAIL_LINES,
    )
    found = run_worker(check.engine.python, "encode", job, environment=environment, timeout_s=_TIMEOUT_S, text=text)
    sets: list[dict[str, Any]] = found["sets"]
    return sets


def check_staged(check: EngineCheck, folder: Path, rows: Mapping[str, int]) -> dict[str, Any]:
    """Check staged data sets, evenly sampled where they are large.

    Args:
        check: what to check with.
        folder: the staging folder.
        rows: data set → its number of rows.

    Raises:
        DataError: the engine drops or changes rows.
        EngineError: the engine can't load them at all.
    """
    place = folder / "check"
    place.mkdir()
    steps = {name: max(1, -(-count // CHECKED_ROWS)) for name, count in rows.items()}
    for name, step in steps.items():
        _sample(folder / f"{name}.jsonl", place / f"{name}.jsonl", step)
    entries = {name: dataset_entry(f"{name}.jsonl") for name in rows}
    (place / FILE_NAME).write_text(json.dumps(entries))
    sets = run_encoder(check, place, list(rows))
    shutil.rmtree(place)
    wrong = [
        f"{one['name']}: rows {_listed(one[key])} {what}"
        for one in sets
        for key, what in (("dropped", "would be dropped"), ("different", "would be read as something else"))
        if one[key]
    ]
    wrong += [
        f"{one['name']}: {one['rows_written']:,} rows were written, {one['rows_loaded']:,} loaded"
        for one in sets
        if one["rows_written"] != one["rows_loaded"]
    ]
    if wrong:
        raise DataError(
            "the engine does not read back what was written: " + "; ".join(wrong),
            hint="This is a bug of lfwrap: please report it with such a row.",
        )
    return summarise(check, sets, steps)


def _sample(source: Path, sink: Path, step: int) -> None:
    with source.open("rb") as lines, sink.open("wb") as kept:
        kept.writelines(itertools.islice(lines, 0, None, step))


def summarise(check: EngineCheck, sets: Sequence[Mapping[str, Any]], steps: Mapping[str, int]) -> dict[str, Any]:
    """The checks of some data sets as one account: how many rows are concerned, and which.

    Args:
        check: what was checked with.
        sets: what `run_encoder` gave.
        steps: data set → one row in how many was looked at.
    """
    found = {one["name"]: _concerned(one, check.cutoff_len) for one in sets}
    counts = [count for one in sets for count in one.get("counts", ())]
    summary: dict[str, Any] = {
        "engine": check.engine.version,
        "template": check.template,
        "rows_checked": sum(one["rows_loaded"] for one in sets),
    }
    if counts:
        summary |= {
            "cutoff_len": check.cutoff_len,
            "tokens": quantiles([count["tokens"] for count in counts]),
            "supervised_tokens": quantiles([count["supervised"] for count in counts]),
        }
    for key in _CONCERNS if counts else _CONCERNS[:1]:
        summary[key] = sum(len(rows[key]) for rows in found.values())
    summary["rows"] = {
        name: {key: [(number - 1) * steps[name] + 1 for number in numbers] for key, numbers in rows.items() if numbers}
        for name, rows in found.items()
    }
    return summary


_CONCERNS = ("calls_unread", "over_cutoff", "question_cut", "without_supervised_token")


def _concerned(one: Mapping[str, Any], cutoff_len: int) -> dict[str, list[int]]:
    """Row numbers among the rows that were looked at, by what is the matter with them."""
    counts = list(enumerate(one.get("counts", ()), 1))
    return {
        "calls_unread": list(one["calls_unread"]),
        "over_cutoff": [number for number, count in counts if count["tokens"] > cutoff_len],
        "question_cut": [number for number, count in counts if count["question_cut"]],
        "without_supervised_token": [number for number, count in counts if count["unsupervised_after_cut"]],
    }


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_LISTED_ROWS]))
    return f"{shown} and {len(rows) - _LISTED_ROWS:,} more" if len(rows) > _LISTED_ROWS else shown
