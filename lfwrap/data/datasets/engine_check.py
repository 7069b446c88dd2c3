"""The check of a new data set: the engine's own loader, converter and template read it, in a separate process."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.datasets.stats import quantiles
from lfwrap.data.output.registry import FILE_NAME, dataset_entry
from lfwrap.data.schema.redaction import redact
from lfwrap.engine.contract import EncodeJob
from lfwrap.engine.environment import PARALLEL_TOKENIZER, engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.keys import DEFAULT_CUTOFF
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import DataError, LfwrapError

CHECKED_ROWS = 5000
_TIMEOUT_S = 900.0
_LISTED_ROWS = 10
_TAIL_LINES = 12
_SHOWN_CHARACTERS = 300


class OwnFaultError(LfwrapError):
    """The check itself failed, by a fault of lfwrap's own: it says nothing of the engine or the data."""


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
        OwnFaultError: the worker has a fault of its own; nothing is said of the engine.
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
    if "own_fault" in found:
        raise OwnFaultError(
            f"lfwrap's own check failed: {redact(found['own_fault'])}",
            hint="This is a bug of lfwrap: please report it.",
        )
    sets: list[dict[str, Any]] = found["sets"]
    return sets


def check_staged(check: EngineCheck, folder: Path, rows: Mapping[str, int]) -> dict[str, Any]:
    """Check staged data sets, evenly sampled where they are large.

    A fault of the check's own is a part of the account: it keeps nothing from being written.

    Args:
        check: what to check with.
        folder: the staging folder.
        rows: data set → its number of rows.

    Raises:
        DataError: the engine drops, changes or refuses rows.
        EngineError: the engine can't load them at all.
    """
    place = folder / "check"
    place.mkdir()
    steps = {name: max(1, -(-count // CHECKED_ROWS)) for name, count in rows.items()}
    for name, step in steps.items():
        _sample(folder / f"{name}.jsonl", place / f"{name}.jsonl", step)
    entries = {name: dataset_entry(f"{name}.jsonl") for name in rows}
    (place / FILE_NAME).write_text(json.dumps(entries))
    try:
        sets = run_encoder(check, place, list(rows))
        _refuse_losses(sets, steps, check.template)
        return summarise(check, sets, steps)
    except OwnFaultError as error:
        return {**summarise(check, [], steps), "own_faults": [{"error": error.message}]}
    except (LfwrapError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - what can't be checked is written all the same, and said
        fault = redact(f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS])
        return {**summarise(check, [], steps), "own_faults": [{"error": fault}]}
    finally:
        shutil.rmtree(place)


def _refuse_losses(sets: Sequence[Mapping[str, Any]], steps: Mapping[str, int], template: str) -> None:
    wrong = [
        f"{one['name']}: rows {_listed([_line(number, steps[one['name']]) for number in one[key]])} {what}"
        for one in sets
        for key, what in (("dropped", "would be dropped"), ("different", "would be read as something else"))
        if one[key]
    ]
    wrong += [
        f"{one['name']}: {one['rows_written']:,} rows were written, {one['rows_loaded']:,} loaded"
        for one in sets
        if one["rows_written"] != one["rows_loaded"]
    ]
    for one in sets:
        for error, numbers in _by_error(one.get("refused", ())).items():
            lines = _listed([_line(number, steps[one["name"]]) for number in numbers])
            wrong.append(f"{one['name']}: the template {template or 'of the model'} fails on rows {lines} ({error})")
    if wrong:
        raise DataError(
            "the engine does not read back what was written: " + "; ".join(wrong),
            hint="This is a bug of lfwrap: please report it with such a row.",
        )


def _by_error(found: Iterable[Sequence[Any]]) -> dict[str, list[int]]:
    """Exception → the numbers of the rows that it came up with."""
    numbers: dict[str, list[int]] = {}
    for number, error in found:
        numbers.setdefault(redact(error), []).append(number)
    return numbers


def _line(number: int, step: int) -> int:
    """The line of the file that a row is, of those that were looked at."""
    return (number - 1) * step + 1


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
    counts = [count for one in sets for count in one.get("counts", ()) if count is not None]
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
        name: {key: [_line(number, steps[name]) for number in numbers] for key, numbers in rows.items() if numbers}
        for name, rows in found.items()
    }
    for key in ("parser_errors", "own_faults"):
        if errors := _errors(sets, key, steps):
            summary[key] = errors
    return summary


def _errors(sets: Sequence[Mapping[str, Any]], key: str, steps: Mapping[str, int]) -> list[dict[str, Any]]:
    """Each exception once: on how many rows it came up, and on which first."""
    entries: dict[str, dict[str, Any]] = {}
    for one in sets:
        name = one["name"]
        for error, numbers in _by_error(one.get(key, ())).items():
            first = {"error": error, "rows": 0, "example": {"set": name, "line": _line(numbers[0], steps[name])}}
            entries.setdefault(error, first)["rows"] += len(numbers)
    return list(entries.values())


_CONCERNS = ("calls_unread", "over_cutoff", "question_cut", "without_supervised_token")


def _concerned(one: Mapping[str, Any], cutoff_len: int) -> dict[str, list[int]]:
    """Row numbers among the rows that were looked at, by what is the matter with them."""
    counts = [(number, count) for number, count in enumerate(one.get("counts", ()), 1) if count is not None]
    return {
        "calls_unread": list(one["calls_unread"]),
        "over_cutoff": [number for number, count in counts if count["tokens"] > cutoff_len],
        "question_cut": [number for number, count in counts if count["question_cut"]],
        "without_supervised_token": [number for number, count in counts if count["unsupervised_after_cut"]],
    }


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_LISTED_ROWS]))
    return f"{shown} and {len(rows) - _LISTED_ROWS:,} more" if len(rows) > _LISTED_ROWS else shown
