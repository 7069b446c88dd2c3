"""One row on which the conversion itself fails costs that row alone, whatever the exception and wherever it comes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.convert import validate
from lfwrap.data.formats import FORMATS, openai_chat, sharegpt
from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.formats.mcp_wire import wire_format
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import DataError, PreflightError

SECRET = "ghp_" + "a1" * 18


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(record: Any, *_: Any) -> Any:
        raise error

    return fail


def at_word(convert: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """A conversion that fails on rows with the word ``boom``."""

    def maybe(record: Any, *rest: Any) -> Any:
        if "boom" in json.dumps(record):
            raise error
        return convert(record, *rest)

    return maybe


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]}


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def prepared(tmp_path: Path, rows: list[Any], **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = prepare(Request((str(source),), tmp_path / "out", "x", **options))
    rejects = (tmp_path / "out" / "x.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return report, [json.loads(line) for line in rejects]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("role"), "KeyError: 'role'"),
        (TypeError(f"bad {SECRET} here"), "TypeError: bad …redacted… here"),
        (RecursionError("maximum recursion depth exceeded"), "RecursionError"),
        (AssertionError(), "AssertionError"),
        (ValueError("x" * 5000), "ValueError: xxx"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), "UnicodeEncodeError"),
    ],
)
def test_the_row_is_rejected_with_the_exception_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    known = FORMATS["openai"]
    monkeypatch.setattr(openai_chat, "FORMAT", dataclasses.replace(known, convert=at_word(known.convert, error)))
    report, rejects = prepared(tmp_path, [chat("a"), chat("boom"), chat("b")])
    assert (report.rows_in, report.rows_out, report.balanced) == (3, 2, True)
    [entry] = rejects
    assert (entry["rule"], entry["row"], entry["line"]) == ("conversion-failed", 2, 2)
    assert said in entry["reason"]
    assert "data/convert/record_path.py" in entry["reason"]
    assert len(entry["reason"]) < 800
    assert SECRET not in json.dumps(rejects)


def test_a_check_that_fails_on_a_plain_row_costs_that_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "check", failing(IndexError("out of range")))
    rows = [{"instruction": "q", "input": "", "output": text} for text in ("a", "holds {{idx}}", "b")]
    report, rejects = prepared(tmp_path, rows)
    assert report.rows_out == 2
    assert [entry["row"] for entry in rejects] == [2]


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left"), DataError("all of it")])
def test_what_concerns_more_than_a_row_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    known = FORMATS["openai"]
    monkeypatch.setattr(openai_chat, "FORMAT", dataclasses.replace(known, convert=at_word(known.convert, error)))
    with pytest.raises((MemoryError, PreflightError, DataError)):
        prepared(tmp_path, [chat("a"), chat("boom")])


def test_a_reader_of_whole_files_that_fails_keeps_what_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = FORMATS["mcp-wire"]

    def read(path: Path, options: Any) -> Iterator[SourceRecord]:
        yield SourceRecord(1, 1, chat("a"))
        yield SourceRecord(2, 2, chat("b"))
        raise KeyError("tool_calls")

    monkeypatch.setattr(wire_format, "FORMAT", dataclasses.replace(FORMATS["openai"], name=known.name, read=read))
    report, rejects = prepared(tmp_path, [chat("a")], format=known.name)
    assert (report.rows_in, report.rows_out) == (3, 2)
    [entry] = rejects
    assert (entry["rule"], entry["row"]) == ("conversion-failed", 3)
    assert "the rest of this file was not read" in entry["reason"]


def test_evidence_that_fails_speaks_for_no_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = FORMATS["sharegpt"]
    monkeypatch.setattr(sharegpt, "FORMAT", dataclasses.replace(known, evidence=failing(TypeError("unhashable"))))
    report, _ = prepared(tmp_path, [chat("a")])
    assert report.rows_out == 1


CALLS = [
    "{'name': 'f', 'arguments': {'a': {1, 2}}}",
    "{'name': 'f', 'arguments': {'a': b'bytes'}}",
    "{'name': 'f', 'arguments': {'a': 1j}}",
    "{'name': 'f', 'arguments': {'a': ...}}",
    "{'name': 'f', 'arguments': {'a': [frozenset()]}}",
    "{'name': 'f', 'arguments': {3: 4}}",
    "{'name': 'f', 'arguments': {(1, 2): 4}}",
    "{'name': 'f', 'arguments': {'a': {None: {1}}}}",
    "{'name': 'f', 'arguments': {'a': 1e400}}",
    "{'name': 'f', 'arguments': {**{}}}",
    "{{'name'}: 1}",
    "{'name': {'f'}, 'arguments': {}}",
    "{'name': 'f', 'arguments': " + "[" * 500 + "]" * 500 + "}",
    "{'name': 'f', 'arguments': {'a': " + "-" * 3000 + "1}}",
    "{'name': 'f', 'arguments': {'a': '\\ud800'}}",
    "{'name': 'f', 'arguments': {'a': f'{1}'}}",
    "{'name': 'f', 'arguments': {'a': \x00}}",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_python_literal_that_json_cant_hold_costs_its_row_by_a_rule(tmp_path: Path, call: str) -> None:
    tools = json.dumps([{"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}])

    def row(uuid: str, content: str) -> dict[str, str]:
        turns = [
            {"role": "user", "content": f"q{uuid}"},
            {"role": "tool_call", "content": content},
            {"role": "tool_response", "content": "r"},
            {"role": "assistant", "content": "x"},
        ]
        return {"uuid": uuid, "tools": tools, "messages": json.dumps(turns)}

    good = "{'name': 'f', 'arguments': {'a': (1, 2)}}"
    report, rejects = prepared(tmp_path, [row("1", good), row("2", call), row("3", good)])
    assert report.rows_out >= 2
    assert [entry["row"] for entry in rejects] in ([2], [])
    assert {entry["rule"] for entry in rejects} <= {"call", "arguments", "lone-surrogate", "structure", "not-json"}


@pytest.mark.parametrize("depth", [50, 300, 700, 900, 5_000])
def test_deep_arguments_are_written_or_rejected_by_a_rule_of_the_data(tmp_path: Path, depth: int) -> None:
    arguments = '{"a":' * depth + "1" + "}" * depth
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    deep = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "assistant", "content": "d"},
    ]
    report, rejects = prepared(tmp_path, [chat("a"), {"messages": deep, "tools": [{"name": "f", "parameters": {}}]}])
    assert report.rows_in == 2
    assert {entry["rule"] for entry in rejects} <= {"arguments", "not-json"}
