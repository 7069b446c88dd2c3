"""What prepare-data writes, loaded by the engine itself: every row, every text, tokens counted."""

import json
from pathlib import Path

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.data.datasets.engine_check import EngineCheck, run_encoder
from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.registry import dataset_entry
from lfwrap.data.output.split import ValSize
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import EngineError, UsageError

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
pytestmark = pytest.mark.engine

ROWS = [
    {"instruction": "你好", "input": "", "output": "您好", "system": "礼貌", "history": [["a", "b"]]},
    {"instruction": "1+1", "input": "now", "output": 2},
    {"instruction": "NA", "input": None, "output": "\\u4e2d \u2028 \x7f 😀"},
]
CALLS = {
    "messages": [
        {"role": "user", "content": "Weather in 北京?"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {
            "name": "get_weather", "arguments": '{"city": "北京", "days": 2, "units": null}'}}]},
        {"role": "tool", "tool_call_id": "1", "content": '{"t": 15}'},
        {"role": "assistant", "content": "15 degrees."},
    ],
    "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "units": {}}}}}],
}  # fmt: skip


def test_the_engine_reads_back_every_row_and_call(tmp_path: Path) -> None:
    (tmp_path / "alpaca.json").write_text(json.dumps(ROWS), encoding="utf-8")
    (tmp_path / "chat.jsonl").write_text(json.dumps(CALLS), encoding="utf-8")
    sources = (str(tmp_path / "alpaca.json"), str(tmp_path / "chat.jsonl"))
    check = EngineCheck(locate_engine(), template="qwen")
    request = Request(sources, tmp_path / "out", "x", ConvertOptions(), template="qwen", engine_check=check)
    report = prepare(request)
    assert report.rows_out == 4
    assert report.engine_check is not None
    assert (report.engine_check["rows_checked"], report.engine_check["calls_unread"]) == (4, 0)


@pytest.mark.parametrize("name", ["mcp", "mcp_val", "mcp_new_tools"])
def test_the_engine_reads_back_the_bundled_tool_calls(tmp_path: Path, name: str) -> None:
    check = EngineCheck(locate_engine(), template="smollm2")
    source = str(bundled_path(f"data/{name}.jsonl"))
    request = Request((source,), tmp_path, "x", ConvertOptions(), template="smollm2", engine_check=check)
    report = prepare(request)
    assert report.engine_check is not None
    assert (report.engine_check["rows_checked"], report.engine_check["calls_unread"]) == (report.rows_out, 0)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder ../shared/samples is absent")
def test_the_samples_load_with_the_same_row_count(tmp_path: Path) -> None:
    sources = (str(SAMPLES / "alpaca"), str(SAMPLES / "csv"))
    check = EngineCheck(locate_engine())
    report = prepare(Request(sources, tmp_path, "x", val_size=ValSize(count=100)))
    sets = run_encoder(check, tmp_path, ["x", "x_val"])
    assert [one["rows_loaded"] for one in sets] == [report.train_rows, report.val_rows]
    assert not any(one["dropped"] or one["different"] for one in sets)


def test_rows_that_the_engine_drops_are_an_error(tmp_path: Path) -> None:
    broken = {"conversations": [{"from": "gpt", "value": "a"}], "system": "", "tools": ""}
    (tmp_path / "x.jsonl").write_text(json.dumps(broken) + "\n")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": dataset_entry("x.jsonl")}))
    [one] = run_encoder(EngineCheck(locate_engine()), tmp_path, ["x"])
    assert one["dropped"] == [1]


def test_what_the_engine_cant_load_ends_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"conversations": 3}\n')
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": dataset_entry("x.jsonl")}))
    with pytest.raises(EngineError, match="can't load"):
        run_encoder(EngineCheck(locate_engine()), tmp_path, ["x"])


def test_an_unknown_template_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS), encoding="utf-8")
    with pytest.raises(UsageError, match="no template of this name"):
        prepare(Request((str(tmp_path / "a.json"),), tmp_path / "out", "x", template="qwenn"))
