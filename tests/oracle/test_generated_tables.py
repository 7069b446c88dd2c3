"""Tables and logs that hypothesis makes, and rows whose tools stand in files of their own."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_logs import STYLES, Log, logs
from made_talks import EXTRAS, TEXT, asked_calls, tools
from oracle_run import judged, run
from second_reader.judge import complaints
from second_reader.layouts import mcp_log
from second_reader.said import Row, Told, Tool
from test_generated import few

_NAMES = {
    "instruction": ["instruction", "Prompt", "question", "问题"],
    "input": ["input", "context"],
    "output": ["output", "response", " Answer", "回答"],
    "system": ["system", "system_prompt"],
}
_CELL = TEXT | st.just("")
_VALUE = _CELL | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def columns(draw: Any) -> dict[str, str]:
    """Fields under one of their names."""
    fields = ["instruction", "output", *draw(st.lists(st.sampled_from(["input", "system"]), unique=True))]
    return {field: draw(st.sampled_from(_NAMES[field])) for field in draw(st.permutations(fields))}


@few(20)
@given(st.data(), columns(), st.integers(1, 6), st.booleans())
def test_records(data: Any, named: dict[str, str], count: int, is_list: bool) -> None:
    records = []
    for _ in range(count):
        record = {name: data.draw(TEXT if data.draw(st.booleans()) else _VALUE) for name in named.values()}
        if data.draw(st.booleans()):
            pairs = [[data.draw(TEXT), data.draw(TEXT)] for _ in range(data.draw(st.integers(0, 2)))]
            record["history"] = data.draw(st.sampled_from([pairs, json.dumps(pairs)]))
        records.append({**record, **data.draw(EXTRAS)})
    records[0] = {**dict.fromkeys(named.values(), "first"), **records[0]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.json" if is_list else "a.jsonl")
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        path.write_bytes((f"[{', '.join(lines)}]" if is_list else "\n".join(lines)).encode())
        assert judged({path: "alpaca"}, Path(folder) / "out", "--format", "alpaca") == []


@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("gb18030", "\r\n")]
)
def test_delimited_text(encoding: str, end: str) -> None:
    @few(8)
    @given(st.data(), columns(), st.integers(1, 6), st.sampled_from([",", ";", "\t", "|"]))
    def judge(data: Any, named: dict[str, str], count: int, delimiter: str) -> None:
        header = [*named.values(), "x_note"]
        held = io.StringIO(newline="")
        writer = csv.writer(held, delimiter=delimiter, lineterminator=end)
        writer.writerow(header)
        for _ in range(count):
            writer.writerow([data.draw(_CELL) for _ in header])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.csv"
            path.write_bytes(held.getvalue().encode(encoding))
            options = ["--encoding", encoding] if encoding == "gb18030" else []
            wrong = judged({path: "alpaca"}, Path(folder) / "out", *options, encoding=encoding, delimiter=delimiter)
            assert wrong == []

    judge()


@few(20)
@given(st.lists(asked_calls(most_calls=2), min_size=1, max_size=3), tools(), st.integers(0, 3), st.booleans())
def test_calls_whose_tools_stand_in_a_file(
    asked: list[Told], others: tuple[Tool, ...], distractors: int, is_qwen: bool
) -> None:
    known: dict[str, Tool] = {}
    for tool in (*others, *(tool for one in asked for tool in one.tools or ())):
        known.setdefault(tool.name, tool)
    values = [{"name": t.name, "description": t.description, "inputSchema": t.schema} for t in known.values()]
    records = [_flow(one) for one in asked]
    with tempfile.TemporaryDirectory() as folder:
        path, listed = Path(folder) / "calls.jsonl", Path(folder) / "tools.json"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        listed.write_text(json.dumps({"tools": values}), encoding="utf-8")
        options = ["--template", "qwen"] if is_qwen else []
        files = {path: "mcpflow"}
        assert judged(files, Path(folder) / "out", *options, tools=[listed], distractors=distractors) == []


def _flow(told: Told) -> Any:
    calls = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in told.turns[1].calls]
    return {
        "source_instruction": told.turns[0].text,
        "function_call": calls[0] if len(calls) == 1 else calls,
        "tool": "x",
    }


@pytest.mark.parametrize("style", STYLES)
def test_logs(style: str) -> None:
    @few(10)
    @given(logs(style), st.booleans())
    def judge(log: Log, is_qwen: bool) -> None:
        options = ["--template", "qwen"] if is_qwen else []
        with tempfile.TemporaryDirectory() as folder:
            path, asked = Path(folder) / "mcp.log", Path(folder) / "asked.jsonl"
            path.write_text(log.text(), encoding="utf-8")
            asked.write_text("".join(json.dumps(one) + "\n" for one in log.asked), encoding="utf-8")
            read = mcp_log.rows(log.text(), asked.read_text(encoding="utf-8"))
            meant = [Row(number, None, told) for number, told in enumerate(log.told, 1)]
            meant += [Row(len(meant) + more, None, None, doubts=["unclaimed"]) for more in range(1, log.unclaimed + 1)]
            outcome = run([path], Path(folder) / "out", *options, "--instructions", asked)
            template = "qwen" if is_qwen else ""
            wrong = [complaints({str(path): rows}, outcome, template=template) for rows in (meant, read)]
            assert wrong == [[], []]

    judge()
