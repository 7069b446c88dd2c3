"""Parquet and Arrow: what only Arrow's types bring along is left out or becomes text, and is counted."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.readers.tables.arrow_tables import read_arrow, read_parquet
from lfwrap.data.request import Request
from lfwrap.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

DAY = dt.date(2026, 3, 1)
MOMENT = dt.datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - Arrow has such, too


def rows_of(tmp_path: Path, table: Any) -> list[tuple[Any, tuple[str, ...]]]:
    parquet.write_table(table, tmp_path / "a.parquet")
    return [(record.value, record.repairs) for record in read_parquet(tmp_path / "a.parquet", "a.parquet")]


def value_of(tmp_path: Path, values: Any, kind: Any) -> tuple[Any, tuple[str, ...]]:
    ((row, repairs),) = rows_of(tmp_path, pa.table({"x": pa.array(values, kind)}))
    return row["x"], repairs


@pytest.mark.parametrize(
    ("value", "kind", "expected", "repairs"),
    [
        (decimal.Decimal("1.50"), pa.decimal128(5, 2), "1.50", ("decimal-to-text",)),
        (decimal.Decimal(1000), pa.decimal128(6, 0), "1000", ("decimal-to-text",)),
        (DAY, pa.date32(), "2026-03-01", ("time-to-text",)),
        (DAY, pa.date64(), "2026-03-01", ("time-to-text",)),
        (MOMENT, pa.timestamp("us"), "2026-03-01 12:30:00", ("time-to-text",)),
        (MOMENT, pa.timestamp("ms", tz="UTC"), "2026-03-01 12:30:00+00:00", ("time-to-text",)),
        (MOMENT, pa.timestamp("ns"), "2026-03-01 12:30:00", ("time-to-text",)),
        (dt.time(12, 30), pa.time64("us"), "12:30:00", ("time-to-text",)),
        (dt.timedelta(hours=30, seconds=1), pa.duration("s"), "30:00:01", ("time-to-text",)),
        (b"text", pa.binary(), "text", ("binary-to-text",)),
        (b"\xff", pa.large_binary(), {"base64": "/w=="}, ("binary-to-text",)),
        ("a", pa.large_string(), "a", ()),
        ("a", pa.dictionary(pa.int8(), pa.string()), "a", ()),
        (3, pa.int8(), 3, ()),
        (None, pa.timestamp("us"), None, ()),
        ([("k", 1), ("l", None)], pa.map_(pa.string(), pa.int64()), {"k": 1, "l": None}, ()),
        ([(1, DAY)], pa.map_(pa.int64(), pa.date32()), {"1": "2026-03-01"}, ("time-to-text",)),
        ([None, "a"], pa.list_(pa.string()), [None, "a"], ()),
        ([DAY, None], pa.large_list(pa.date32()), ["2026-03-01", None], ("time-to-text",)),
    ],
)
def test_types_that_json_lacks(tmp_path: Path, value: Any, kind: Any, expected: Any, repairs: tuple[str, ...]) -> None:
    assert value_of(tmp_path, [value], kind) == (expected, repairs)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"city": "Rome", "n": None}, {"city": "Rome"}),
        ([{"a": 1}, {"b": None}, None], [{"a": 1}, {}, None]),
        ({"deep": {"a": None, "b": [{"c": None, "d": 0}]}}, {"deep": {"b": [{"d": 0}]}}),
        ([{"k": {"a": None, "b": ""}}], [{"k": {"b": ""}}]),
        ({"text": '{"a": null}', "none": None}, {"text": '{"a": null}'}),
    ],
)
def test_nulls_that_only_fill_a_struct_are_left_out(tmp_path: Path, value: Any, expected: Any) -> None:
    assert value_of(tmp_path, [value], None) == (expected, ("struct-nulls-left-out",))


def test_a_struct_without_nulls_is_as_it_was(tmp_path: Path) -> None:
    assert value_of(tmp_path, [{"a": 0, "b": False, "c": ""}], None) == ({"a": 0, "b": False, "c": ""}, ())


def test_a_map_with_a_key_twice_is_rejected(tmp_path: Path) -> None:
    (record, _), _ = rows_of(tmp_path, pa.table({"x": pa.array([[("k", 1), ("k", 2)], []], pa.map_("string", "int8"))}))
    assert record.rule == "duplicate-key"


CALL = {"function": {"name": "f", "arguments": {"city": "Rome", "n": None}}}
OTHER = {"function": {"name": "g", "arguments": {"city": None, "n": 3}}}
TOOLS = [
    {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "g", "description": "d", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
]


def test_a_conversation_with_calls_trains_no_nulls_of_structs(tmp_path: Path) -> None:
    """One struct has the fields of all tools, both in the arguments of calls and in the schemas."""
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}], "tools": TOOLS}
        for call in (CALL, OTHER)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    report = prepare(Request((str(tmp_path / "a.parquet"),), tmp_path / "out", "x"))
    lines = [json.loads(line) for line in (tmp_path / "out/x.jsonl").read_text(encoding="utf-8").splitlines()]
    calls = [json.loads(line["conversations"][1]["value"]) for line in lines]
    assert [call["arguments"] for call in calls] == [{"city": "Rome"}, {"n": 3}]
    schemas = [tool["function"]["parameters"]["properties"] for tool in json.loads(lines[0]["tools"])]
    assert [list(schema) for schema in schemas] == [["city"], ["n"]]
    assert report.repairs["struct-nulls-left-out"] == 2


@pytest.mark.parametrize("form", ["file", "stream", "feather"])
def test_arrow_files_are_read_in_order(tmp_path: Path, form: str) -> None:
    table = pa.table({"question": [f"q{n}" for n in range(2000)], "answer": list(range(2000))})
    path = tmp_path / f"a.{'feather' if form == 'feather' else 'arrow'}"
    if form == "feather":
        pytest.importorskip("pyarrow.feather").write_feather(table, path)
    else:
        new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
        with new(str(path), table.schema) as sink:
            sink.write_table(table, max_chunksize=700)
    assert [record.value["answer"] for record in read_arrow(path, "a")] == list(range(2000))
    report = prepare(Request((str(path),), tmp_path / "out", "x"))
    assert (report.rows_out, report.repairs) == (2000, {"number-to-text": 2000})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.arrow", b"no arrow file at all", "not a readable Arrow file"),
        ("a.arrow", b"ARROW1\0\0cut off", "not a readable Arrow file"),
        ("a.feather", b"FEA1....", "the first version of Feather"),
        ("a.parquet", b"PAR1", "not a readable Parquet file"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        prepare(Request((str(tmp_path / name),), tmp_path / "out", "x"))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([["q"], ["a"], ["b"]], names=["question", "answer", "answer"])
    with pytest.raises(DataError, match="'answer' is there twice"):
        rows_of(tmp_path, table)


def test_a_row_group_of_any_size_is_read_in_pieces(tmp_path: Path) -> None:
    table = pa.table({"question": [f"{n} " + "x" * 2000 for n in range(10000)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=10000, compression="none", use_dictionary=False)
    del table
    before, most = pa.total_allocated_bytes(), 0
    for record in read_parquet(tmp_path / "a.parquet", "a.parquet"):
        if record.row % 500 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < (tmp_path / "a.parquet").stat().st_size / 2


@pytest.mark.parametrize("form", ["stream", "file", "parquet"])
def test_a_damaged_file_is_named_and_the_disk_is_not_blamed(tmp_path: Path, form: str) -> None:
    table = pa.table({"instruction": [f"question {n}" for n in range(999)], "output": ["answer"] * 999})
    path = tmp_path / ("a.parquet" if form == "parquet" else "a.arrow")
    if form == "parquet":
        parquet.write_table(table, path, compression="none")
        content = bytearray(path.read_bytes())
        content[4:300] = b"\xff" * 296
        path.write_bytes(content)
    else:
        with pa.OSFile(str(path), "wb") as file, getattr(pa.ipc, f"new_{form}")(file, table.schema) as writer:
            writer.write_table(table)
        path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError) as caught:
        prepare(Request((str(path),), tmp_path / "out", "x"))
    assert path.name in str(caught.value)
    assert "disk" not in f"{caught.value.hint}"
