"""Data sets before a training: registered, readable, with the columns that the engine asks for, in every row."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.keys import DEFAULT_STAGE
from lfwrap.errors import Finding, Severity
from lfwrap.recipe.recipe import split_names
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.prepared import check_prepared
from lfwrap.run.preflight.rows import check_rows
from lfwrap.suggest import did_you_mean
from lfwrap.units import plural

_MAX_BYTES = 512 << 20  # beyond this the head of a JSONL file is looked at, and a JSON array is left to the engine
_HEAD_ROWS = 100_000
_REPAIR = "`lfwrap prepare-data` names every bad row and writes a file without them."

Row = tuple[int, Any]

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
    yield from check_rows(context, context.resolve(dataset_dir))


def _load_registry(context: PreflightContext, folder: Path) -> Mapping[str, Any] | Finding:
    path = folder / _INFO
    try:
        registry = orjson.loads(path.read_bytes())
        if isinstance(registry, dict):
            return registry
        problem = "is not a JSON object"
    except FileNotFoundError:
        problem = "does not exist"
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
    except ValueError as error:
        problem = f"is not valid JSON: {error}"
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
    yield from check_prepared(context, key, name, folder)
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
            return "ranking data needs the columns chosen and rejected."
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


@dataclass(frozen=True, slots=True)
class RowCheck:
    """What the engine will ask each row for.

    Attributes:
        columns: those that must exist.
        prompt: the column of the question, in Alpaca data.
        query: the column of its input.
        response: the column of the answer; a row where it is not text is dropped without a word.
        messages: the column of the turns, in ShareGPT and OpenAI data.
    """

    columns: tuple[str, ...]
    prompt: str | None = None
    query: str | None = None
    response: str | None = None
    messages: str | None = None


@dataclass(frozen=True, slots=True)
class DataProblem:
    """Something wrong with a file.

    Attributes:
        rule: its name.
        message: what is wrong.
        hint: the remedy.
        stops: whether the run can't be started.
        line: 1-based line, where known.
        column: 1-based column, where known.
    """

    rule: str
    message: str
    hint: str
    stops: bool = True
    line: int | None = None
    column: int | None = None


class _BadFileError(Exception):
    def __init__(self, problem: DataProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class _Tally:
    """What was seen, with the line of the first of each kind."""

    is_array: bool = False
    rows: int = 0
    seen: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, line: int) -> None:
        """Count one row of this kind, and keep the line of the first."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.first.setdefault(kind, line)


def check_file(path: Path, check: RowCheck) -> list[DataProblem]:
    """What is wrong with a data file; Parquet and Arrow are left to the engine."""
    if path.suffix not in {".json", ".jsonl", ".csv"}:
        return []
    tally = _Tally()
    try:
        tally.is_array = _is_array(path)
        for line, row in _read_rows(path):
            _look(row, line, check, tally)
    except _BadFileError as bad:
        return [bad.problem]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return [DataProblem("data-unreadable", f"can't be read: {error}.", "Save it as UTF-8. " + _REPAIR)]
    if tally.rows == 0:
        return [DataProblem("data-empty", "no rows in it.", "Check the file; an empty data set can't be trained on.")]
    missing = [column for column in check.columns if column not in tally.seen]
    if missing:
        return [_missing(missing, tally)]
    return list(_summarise(check, tally))


def _missing(missing: list[str], tally: _Tally) -> DataProblem:
    there = ", ".join(sorted(tally.seen)) or "none"
    return DataProblem(
        "data-columns",
        f"no row has the column {', '.join(map(repr, missing))}; the columns there: {there}.",
        "Correct `columns` in dataset_info.json, or let `lfwrap prepare-data` write both.",
    )


def _read_rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source)
            for row in reader:
                yield reader.line_num, row
        return
    yield from _read_array(path) if _is_array(path) else _read_lines(path)


def _is_array(path: Path) -> bool:
    if path.suffix == ".csv":
        return False
    with path.open("rb") as source:
        return source.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _read_array(path: Path) -> Iterator[Row]:
    if path.stat().st_size > _MAX_BYTES:
        return
    content = path.read_bytes()
    try:
        rows = orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise _broken_json(str(error), error.lineno, error.colno) from error
    yield from ((number, row) for number, row in enumerate(rows, 1))


def _read_lines(path: Path) -> Iterator[Row]:
    limit = _HEAD_ROWS if path.stat().st_size > _MAX_BYTES else None
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            if limit is not None and number > limit:
                return
            text = line.strip().removeprefix(b"\xef\xbb\xbf")
            if not text:
                continue
            try:
                yield number, orjson.loads(text)
            except orjson.JSONDecodeError as error:
                if number == 1 and text in {b"{", b"["}:
                    yield from _read_array(path)
                    return
                raise _broken_json(str(error), number, error.colno) from error


def _broken_json(message: str, line: int, column: int) -> _BadFileError:
    text = re.sub(r": line \d+ column \d+ \(char \d+\)$", "", message)
    return _BadFileError(DataProblem("data-json", f"broken JSON: {text}.", _REPAIR, line=line, column=column))


def _look(row: Any, line: int, check: RowCheck, tally: _Tally) -> None:
    tally.rows += 1
    if not isinstance(row, Mapping):
        tally.note("no-object", line)
        return
    tally.seen.update(str(key) for key in row)
    if check.response is not None:
        answer = row.get(check.response)
        if not isinstance(answer, str):
            tally.note("dropped", line)
        elif not answer.strip():
            tally.note("empty-response", line)
    if check.prompt is not None and not any(_has_text(row.get(key)) for key in (check.prompt, check.query) if key):
        tally.note("empty-prompt", line)
    if check.messages is not None:
        turns = row.get(check.messages)
        if not isinstance(turns, list) or not turns:
            tally.note("no-messages", line)


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_SILENT = (
    ("no-object", "{rows} without a JSON object; the engine stops there.", True),
    ("no-messages", "{rows} without turns; the engine stops there.", True),
    ("dropped", "{rows} whose {response} is not text: the engine drops them without a word.", False),
    ("empty-response", "{rows} with an empty {response}: the engine trains on the end token alone.", False),
    ("empty-prompt", "{rows} with an empty question: the engine trains on them all the same.", False),
)


def _summarise(check: RowCheck, tally: _Tally) -> Iterator[DataProblem]:
    for kind, text, stops in _SILENT:
        count = tally.counts.get(kind)
        if count:
            message = text.format(rows=plural(count, "row"), response=check.response)
            if tally.is_array:
                message += f" The first is row {tally.first[kind]}."
            everything = kind == "dropped" and count == tally.rows
            line = None if tally.is_array else tally.first[kind]
            yield DataProblem(f"data-{kind}", message, _REPAIR, stops or everything, line)
