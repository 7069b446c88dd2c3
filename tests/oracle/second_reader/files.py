"""The records of a file, each with its number and its line: JSON, JSON lines and delimited text."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from second_reader.values import parsed


@dataclass
class Record:
    """One record; ``broken`` says why there is no value, ``doubt`` why it may be refused."""

    number: int
    line: int | None
    value: Any
    broken: str = ""
    doubt: str = ""


def text_of(path: Path, encoding: str) -> str:
    """A file's text, without a byte order mark."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.decode(encoding).removeprefix("\ufeff")


def records(path: Path, encoding: str = "utf-8", delimiter: str = ",") -> list[Record]:
    """All records of a file, in order."""
    text = text_of(path, encoding)
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind in {".csv", ".tsv"}:
        return _cells(text, delimiter)
    if kind == ".json":
        return whole(json_value(text))
    return lines(text)


def json_value(text: str) -> Any:
    """The one value of a file."""
    return parsed(text)


def whole(value: Any) -> list[Record]:
    """The records of one value: a list, an object of lists (all of them, in order), or one record."""
    several = ""
    if isinstance(value, dict):
        lists = [held for held in value.values() if isinstance(held, list) and held and _are_records(held)]
        is_wrapper = len(lists) == len(value) or (len(lists) == 1 and set(value) & {"data", "rows", "examples"})
        several = "one of several lists of a file" if is_wrapper and len(lists) > 1 else ""
        value = [record for held in lists for record in held] if is_wrapper else [value]
    return [Record(number, None, record, doubt=several) for number, record in enumerate(value, 1)]


def lines(text: str) -> list[Record]:
    """JSON lines; blank ones don't count."""
    found: list[Record] = []
    for line, raw in enumerate(text.split("\n"), 1):
        if raw.strip():
            try:
                found.append(Record(len(found) + 1, line, parsed(raw)))
            except ValueError as error:
                found.append(Record(len(found) + 1, line, None, f"not JSON: {error}"))
    return found


def _are_records(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _cells(text: str, delimiter: str) -> list[Record]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = next(row for row in reader if row)
    found: list[Record] = []
    begun = reader.line_num + 1
    for cells in reader:
        if cells:
            value = dict(zip(header, cells, strict=False))
            broken = "" if len(cells) == len(header) else "not as many cells as columns"
            found.append(Record(len(found) + 1, begun, value, broken))
        begun = reader.line_num + 1
    return found


def tool_lists(paths: list[Path]) -> dict[str, Any]:
    """Tools by name from files of ``tools/list`` results; of two different tools with one name neither counts."""
    known: dict[str, Any] = {}
    for path in paths:
        for tool in _tools_in(json.loads(path.read_text(encoding="utf-8"))):
            if tool["name"] in known and known[tool["name"]] != tool:
                known[tool["name"]] = None
            known.setdefault(tool["name"], tool)
    return {name: tool for name, tool in known.items() if tool is not None}


def _tools_in(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [tool for held in value for tool in _tools_in(held)]
    if "tools" in value:
        return _tools_in(value["tools"])
    return [value.get("function", value)]
