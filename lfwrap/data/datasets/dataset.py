"""Data sets as they are stored for the engine: entries of ``dataset_info.json``, or files, row by row.

Whatever form the engine takes an entry in (ShareGPT, Alpaca, OpenAI), its rows come out in ShareGPT's.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.bundled import bundled_path
from lfwrap.data.convert import writer
from lfwrap.data.convert.failed_row import failed_row
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.data.output.registry import FILE_NAME, read_registry
from lfwrap.errors import DataError
from lfwrap.suggest import did_you_mean

_SUFFIXES = (".jsonl", ".json", ".csv")
_TAGS = {"user_tag": "human", "assistant_tag": "gpt", "observation_tag": "observation", "function_tag": "function_call",
         "system_tag": "system"}  # fmt: skip
_ALPACA_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output", "system": "system",
                   "history": "history"}  # fmt: skip
_DETECTED_ROWS = 50
_PREPARE = "Run its source through `lfwrap prepare-data` first."


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row: the engine's ShareGPT row, or why there is none.

    Attributes:
        number: 1-based.
        value: ``conversations`` (from/value texts), ``system`` and ``tools``; None for a row that can't be read.
        reason: why not.
    """

    number: int
    value: dict[str, Any] | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set on disk: its files, and what the registry says about them.

    Attributes:
        name: its name, or the file as the user named it.
        files: its files.
        format: how its rows are read (a name of `FORMATS`).
        entry: what ``dataset_info.json`` says about it; empty for a file that none lists.
        template: the chat template that prepare-data wrote it for, or empty.
    """

    name: str
    files: tuple[Path, ...]
    format: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""

    def rows(self) -> Iterator[DatasetRow]:
        """Its rows in order, unreadable ones included."""
        numbers = itertools.count(1)
        for path in self.files:
            for record in _records(path):
                yield self._row(next(numbers), record)

    def _row(self, number: int, record: Any) -> DatasetRow:
        if not isinstance(record, Mapping):
            return DatasetRow(number, None, record.args[0] if isinstance(record, ValueError) else "it is not an object")
        try:
            renamed = _renamed(record, self.entry)
            if _is_engine_row(renamed):
                return DatasetRow(number, {"system": "", "tools": "", **renamed})
            columns = _alpaca_columns(self.entry, record) if self.format == "alpaca" else {}
            conversation = FORMATS[self.format].convert(renamed, ConvertOptions(columns=columns), RowNotes())
            return DatasetRow(number, writer.engine_row(conversation, self.template))
        except Exception as error:  # noqa: BLE001 - whatever one row brings about, the others are shown
            return DatasetRow(number, None, failed_row(error).reason)


def find_dataset(name: str, dataset_dir: Path | None = None) -> Dataset:
    """The data set of a name, or a file of rows.

    A name is looked for in ``dataset_dir``, or else in ``data``, the current folder, and the data that ships with
    lfwrap.

    Raises:
        DataError: there is no such data set, or the engine's own loading is needed to read it.
    """
    if dataset_dir is None and Path(name).is_file():
        return _of_file(Path(name))
    folders = [dataset_dir] if dataset_dir else [Path("data"), Path(), bundled_path("data")]
    known: list[str] = []
    for folder in folders:
        entries = read_registry(folder)
        if name in entries:
            return _of_entry(name, entries[name], folder)
        known += entries
    raise DataError(
        f"{name}: no such file, and no data set of this name in {', '.join(str(folder) for folder in folders)}",
        hint=did_you_mean(name, known, otherwise=f"Name the folder of {FILE_NAME} with --dataset-dir."),
    )


def _of_entry(name: str, entry: Any, folder: Path) -> Dataset:
    file_name = entry.get("file_name") if isinstance(entry, Mapping) else None
    if not isinstance(file_name, str):
        raise DataError(
            f"{name}: {folder / FILE_NAME} names no file for it",
            hint="Name a data set with files: lfwrap reads none from a hub.",
        )
    if entry.get("ranking") or (entry.get("columns") or {}).get("kto_tag"):
        raise DataError(f"{name}: a data set of preferences", hint="Name a data set of instructions.")
    place = folder / file_name
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    found = tuple(_checked(file) for file in files)
    formatting = str(entry.get("formatting", "alpaca"))
    return Dataset(name, found, formatting, entry, _template_of(folder, name))


def _of_file(path: Path) -> Dataset:
    """A file, as its folder's registry says, else by what its first rows look like."""
    for name, entry in read_registry(path.parent).items():
        if isinstance(entry, Mapping) and entry.get("file_name") == path.name:
            return _of_entry(name, entry, path.parent)
    _checked(path)
    head = [record for record in itertools.islice(_records(path), _DETECTED_ROWS) if isinstance(record, Mapping)]
    detectable = [known for known in FORMATS.values() if known.read is None]
    found = next((known.name for record in head for known in detectable if known.evidence(record)), None)
    if found is None:
        raise DataError(f"{path}: holds no rows of a data set", hint=_PREPARE)
    return Dataset(str(path), (path,), found)


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file", hint=f"Correct {FILE_NAME}, or prepare the data again.")
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: {path.suffix or 'such'} files can't be read here", hint=_PREPARE)
    return path


def _template_of(folder: Path, name: str) -> str:
    """The template that prepare-data wrote a set for, by its report; a validation set has its training set's."""
    try:
        report = orjson.loads((folder / f"{name.removesuffix('_val')}.report.json").read_bytes())
        return str(report["options"]["template"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _records(path: Path) -> Iterator[Any]:
    """Records of a file; a ValueError stands for one that does not parse."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as source:
            yield from csv.DictReader(source)
        return
    with path.open("rb") as source:
        is_lines = not source.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        source.seek(0)
        if is_lines:
            yield from (_parse(line, number) for number, line in enumerate(source, 1) if line.strip())
            return
        whole = _parse(source.read(), 1)
    yield from whole if isinstance(whole, list) else [whole]


def _parse(text: bytes, line: int) -> Any:
    try:
        return orjson.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        return ValueError(f"line {line} is not JSON: {error.msg}")


def _is_engine_row(record: Mapping[str, Any]) -> bool:
    turns = record.get("conversations")
    return (
        isinstance(turns, list)
        and bool(turns)
        and isinstance(record.get("system", ""), str)
        and isinstance(record.get("tools", ""), str)
        and all(
            isinstance(turn, dict)
            and turn.get("from") in ("human", "gpt", "function_call", "observation")
            and isinstance(turn.get("value"), str)
            for turn in turns
        )
    )


def _renamed(record: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ShareGPT or OpenAI record under its usual column names and tags."""
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    usual = {"sharegpt": "conversations", "openai": "messages"}.get(str(entry.get("formatting")))
    if usual is None:
        return record
    fields = {"messages": usual, "system": "system", "tools": "tools"}
    renamed = {target: record.get(columns.get(key, target)) for key, target in fields.items()}
    turns = renamed[usual]
    if usual == "conversations" and tags and isinstance(turns, list):
        renamed[usual] = [_retagged(turn, tags) for turn in turns]
    return {key: value for key, value in renamed.items() if value is not None}


def _retagged(turn: Any, tags: Mapping[str, str]) -> Any:
    role_key, content_key = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    if not isinstance(turn, Mapping):
        return turn
    role = turn.get(role_key)
    named = next((usual for key, usual in _TAGS.items() if tags.get(key, usual) == role), role)
    return {"from": named, "value": turn.get(content_key)}


def _alpaca_columns(entry: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """Field → column for the columns that a record has, as the registry names them; empty: by their usual names."""
    columns = entry.get("columns") or {}
    return {
        _ALPACA_COLUMNS[key]: column for key, column in columns.items() if key in _ALPACA_COLUMNS and column in record
    }
