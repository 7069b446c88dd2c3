"""A look through one data file: readable, with rows, with the columns, and what the engine would silently leave out."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.units import plural

_MAX_BYTES = 512 << 20  # beyond this the head of a JSONL file is looked at, and a JSON array is left to the engine
_HEAD_ROWS = 100_000
_REPAIR = "`lfwrap prepare-data` names every bad row and writes a file without them."

Row = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class RowCheck:
    """What the engine will ask each row for.

    Attributes:
        columns: those that must exist.
        prompt: the column of the question, in Alpaca data.
        query: the column of its input.
        response: the column of the answer; a row where it is no text is dropped without a word.
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
    ("no-object", "{rows} no JSON object; the engine stops there.", True),
    ("no-messages", "{rows} without turns; the engine stops there.", True),
    ("dropped", "{rows} whose {response} is no text: the engine drops them without a word.", False),
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
