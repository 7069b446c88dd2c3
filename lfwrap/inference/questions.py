"""Questions to answer: from a text file, one a line; from rows of JSON or CSV; from what a run kept for validation."""

from __future__ import annotations

import csv
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from lfwrap.data.formats.base import Reject
from lfwrap.data.readers.sources import CSV_SUFFIXES, open_text, suffix_of
from lfwrap.errors import DataError, Finding
from lfwrap.inference.question_rows import (
    AskOptions,
    Message,
    Question,
    ask,
    question_of_messages,
    read_question,
    write_tools,
)

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.run.folder.record import Run

__all__ = [
    "AskOptions",
    "Message",
    "Question",
    "ask",
    "load_questions",
    "question_of_messages",
    "read_tools",
    "validation_questions",
    "write_tools",
]

_SHAPES = 'Give text, {"question": …}, {"instruction": …, "input": …} or {"messages": [{"role", "content"}…]}.'
_ROW_SUFFIXES = (".json", ".jsonl", ".ndjson")
_HEADER_BYTES = 65_536


def load_questions(
    path: Path, system: str | None = None, *, tools: str | None = None, template: str = ""
) -> list[Question]:
    """The questions of a file: ``.jsonl``, ``.json`` and CSV hold rows, anything else one question a line.

    A row's own system prompt and tools go before those given here. Its last answer, if it has one, is kept as the
    reference. Rows may be Alpaca, ShareGPT, OpenAI or another layout that prepare-data reads.

    Raises:
        DataError: no such file, no question in it, or rows that ask nothing: all of them, each with its line.
    """
    options = AskOptions(system, tools, template)
    questions: list[Question] = []
    findings: list[Finding] = []
    for number, (line, row) in enumerate(_rows(path, findings)):
        try:
            questions.append(read_question(number, row, options))
        except Reject as reject:
            findings.append(_finding(path, line, f"asks nothing: {reject.reason}."))
    if findings:
        raise DataError(f"{path}: {len(findings)} unusable rows", findings=findings)
    if not questions:
        raise DataError(f"{path}: no questions", hint="One question a line, or one JSON row a line.")
    return questions


def validation_questions(run: Run, engine: Engine) -> list[Question]:
    """What a run kept back for validation, as questions: the last answer of each row is the reference.

    Raises:
        UsageError: the run kept nothing back.
        DataError: the data can't be read.
        EngineError: the engine can't split it.
    """
    from lfwrap.inference.held_out_rows import validation_rows

    rows = validation_rows(run, engine).rows
    asked = (question_of_messages(number, row.messages, row.system, row.tools) for number, row in enumerate(rows))
    return [question for question in asked if question is not None]


def read_tools(paths: Sequence[Path], template: str) -> str | None:
    """The tools of some files as the engine takes them; None without files. Raises DataError as the reader does."""
    from lfwrap.data.tools.catalogue import load_catalogue
    from lfwrap.inference.question_rows import write_tools

    if not paths:
        return None
    return write_tools(list(load_catalogue(paths).tools.values()), template)


def _rows(path: Path, findings: list[Finding]) -> Iterator[tuple[int, Any]]:
    suffix = suffix_of(path.name)
    if suffix in CSV_SUFFIXES:
        yield from _csv_rows(path)
        return
    text = _read_text(path)
    for line, content in _contents(text, whole=suffix == ".json"):
        if suffix not in _ROW_SUFFIXES:
            yield line, content
            continue
        try:
            value = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            findings.append(_finding(path, line, f"not valid JSON: {error}."))
            continue
        if suffix == ".json" and isinstance(value, list):
            yield from ((line, row) for row in value)
        else:
            yield line, value


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table, in whatever encoding and with whatever separator the program that wrote it chose."""
    if not path.is_file():
        _read_text(path)
    with tempfile.TemporaryDirectory() as scratch:
        text = open_text(str(path), Path(scratch), encoding=None, checked=True)
        with text.path.open(encoding="utf-8-sig", newline="") as source:
            header = source.readline(_HEADER_BYTES)
            separator = max("\t,;|", key=header.count)
            reader = csv.DictReader(itertools.chain([header], source), delimiter=separator)
            for row in reader:
                yield reader.line_num, {key: value for key, value in row.items() if key and isinstance(value, str)}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: can't be read: {reason}", hint="Name a text or JSONL file in UTF-8.") from error


def _contents(text: str, *, whole: bool) -> Iterator[tuple[int, str]]:
    if whole:
        yield 1, text
        return
    # Only \n parts rows: JSON text may hold other line separators.
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, content.strip()


def _finding(path: Path, line: int, message: str) -> Finding:
    return Finding("unusable-question", message, file=str(path), line=line, hint=_SHAPES)
