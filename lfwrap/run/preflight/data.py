"""Are the data sets registered, there, readable, and do they have the columns that the engine will ask for?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.keys import DEFAULT_STAGE
from lfwrap.errors import Finding, Severity
from lfwrap.recipe.recipe import split_names
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.rows import DataProblem, RowCheck, check_file
from lfwrap.suggest import did_you_mean

_INFO = "dataset_info.json"
_REMOTE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_FILE_TYPES = (".arrow", ".csv", ".json", ".jsonl", ".parquet", ".txt")
_PATH = re.compile(r"[/\\]|\.(?:json|jsonl|csv|tsv|parquet|txt)$")
_PREPARE = "`lfwrap prepare-data FILE --out DIR --name NAME` writes and registers it."


def check_data(context: PreflightContext) -> Iterator[Finding]:
    """Findings on every data set that the run reads, in training and evaluation."""
    if not context.values.get("do_train", True) or context.values.get("tokenized_path"):
        return
    names = {key: split_names(context.values.get(key)) for key in ("dataset", "eval_dataset")}
    if not names["dataset"]:  # the recipe's own rules say so, as they do of a path instead of a name
        return
    dataset_dir = str(context.values.get("dataset_dir") or "data")
    if dataset_dir == "ONLINE" or dataset_dir.startswith("REMOTE:"):
        return
    registry = _load_registry(context, context.resolve(dataset_dir))
    if isinstance(registry, Finding):
        yield registry
        return
    for key, listed in names.items():
        for name in listed:
            yield from _check_dataset(context, key, name, registry, context.resolve(dataset_dir))


def _load_registry(context: PreflightContext, folder: Path) -> Mapping[str, Any] | Finding:
    path = folder / _INFO
    try:
        registry = orjson.loads(path.read_bytes())
        if isinstance(registry, dict):
            return registry
        problem = "is no JSON object"
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
    except ValueError as error:
        problem = f"is no valid JSON: {error}"
    key = "dataset_dir" if "dataset_dir" in context.recipe.engine_values else "dataset"
    return context.finding("dataset-info", key, f"{path}: {problem}.", f"Set dataset_dir to its folder; {_PREPARE}")


def _check_dataset(
    context: PreflightContext, key: str, name: str, registry: Mapping[str, Any], folder: Path
) -> Iterator[Finding]:
    entry = registry.get(name)
    if not isinstance(entry, dict):
        if not _PATH.search(name):
            yield _unregistered(context, key, name, registry, folder)
        return
    if any(remote in entry for remote in _REMOTE_KEYS):
        return
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        message = f"{folder / _INFO}: {name} names no file_name."
        yield context.finding("dataset-file", key, message, _PREPARE)
        return
    path = folder / file_name
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    problem = _file_problem(files, path)
    if problem:
        yield context.finding("dataset-file", key, f"{name}: {problem}.", _PREPARE)
        return
    expectation = expected_columns(entry, str(context.values.get("stage", DEFAULT_STAGE)))
    if isinstance(expectation, str):
        yield Finding("dataset-columns", f"{name}: {expectation}", file=str(folder / _INFO), hint=_PREPARE)
        return
    for file in files:
        for found in check_file(file, expectation):
            yield _to_finding(name, file, found)


def _unregistered(context: PreflightContext, key: str, name: str, registry: Mapping[str, Any], folder: Path) -> Finding:
    there = f"Registered there: {', '.join(sorted(registry)[:8]) or 'nothing'}. {_PREPARE}"
    hint = did_you_mean(name, registry, otherwise=there)
    return context.finding("unknown-dataset", key, f"{name}: not registered in {folder / _INFO}.", hint)


def _file_problem(files: list[Path], path: Path) -> str | None:
    if not files:
        return f"{path} is an empty folder"
    for file in files:
        if not file.is_file():
            return f"{file} does not exist"
        if file.suffix not in _FILE_TYPES:
            return f"{file}: the engine reads {', '.join(_FILE_TYPES)} only"
        if file.stat().st_size == 0:
            return f"{file} is empty"
    if len({file.suffix.replace("jsonl", "json") for file in files}) > 1:
        return f"{path} mixes file types"
    return None


def expected_columns(entry: Mapping[str, Any], stage: str) -> RowCheck | str:
    """The columns that the engine will ask each row for, after its own rules; a text says why it can use none.

    Without ``columns`` the engine takes its defaults; with it, every column that is not named is taken as absent.
    """
    formatting = entry.get("formatting", "alpaca")
    if formatting not in {"alpaca", "sharegpt", "openai"}:
        return f"formatting {formatting!r} is not one of alpaca, sharegpt, openai."
    named = entry.get("columns")
    columns = named if isinstance(named, dict) else _default_columns(formatting)
    extra = [columns[key] for key in ("system", "tools", "images", "videos", "audios") if columns.get(key)]
    if entry.get("ranking"):
        if not columns.get("chosen") or not columns.get("rejected"):
            return "ranking data need the columns chosen and rejected."
        extra += [columns["chosen"], columns["rejected"]]
    if formatting != "alpaca":
        messages = columns.get("messages")
        if not messages:
            return "columns names no messages: the engine would stop with KeyError: None."
        return RowCheck((messages, *extra), messages=messages)
    prompt, response = columns.get("prompt"), columns.get("response")
    asked = [column for column in (prompt, columns.get("query"), response, columns.get("history")) if column]
    if stage == "sft" and not entry.get("ranking") and not response:
        return "columns names no response: the engine would drop every row without a word."
    needs_response = stage == "sft" and not entry.get("ranking")
    return RowCheck(
        (*asked, *extra), prompt=prompt, query=columns.get("query"), response=response if needs_response else None
    )


def _default_columns(formatting: str) -> dict[str, str]:
    if formatting == "alpaca":
        return {"prompt": "instruction", "query": "input", "response": "output"}
    return {"messages": "conversations"}


def _to_finding(name: str, file: Path, problem: DataProblem) -> Finding:
    return Finding(
        problem.rule,
        f"{name}: {problem.message}",
        Severity.ERROR if problem.stops else Severity.WARNING,
        file=str(file),
        line=problem.line,
        column=problem.column,
        hint=problem.hint,
    )
