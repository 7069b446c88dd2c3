"""Alpaca and CSV as people have them: each kind of file that the engine alone gets wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.data_report import DataReport
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.data.schema.columns import parse_mapping
from lfwrap.data.schema.rules import RULES
from lfwrap.errors import DataError, LfwrapError

ROW = {"instruction": "问", "input": "", "output": "答"}
LINE = json.dumps(ROW, ensure_ascii=False)
SURE_ROW = {"instruction": "天空为什么是蓝色的?", "input": "", "output": "因为蓝光散射得最多。"}  # ROW says too little
SURE_LINE = json.dumps(SURE_ROW, ensure_ascii=False)


def run(folder: Path, name: str, content: bytes | str, **options: Any) -> DataReport:
    source = folder / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return prepare(Request((str(source),), folder / "out", "x", **options))


def written(folder: Path) -> list[tuple[str, ...]]:
    lines = (folder / "out" / "x.jsonl").read_text(encoding="utf-8").splitlines()
    return [tuple(turn["value"] for turn in json.loads(line)["conversations"]) for line in lines]


def rejects(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / "x.rejects.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "content", "encoding", "repairs"),
    [
        ("a.json", b"\xef\xbb\xbf[" + LINE.encode() + b"]", "utf-8", {"bom": 1}),
        ("a.jsonl", b"\xef\xbb\xbf" + LINE.encode(), "utf-8", {"bom": 1}),
        ("a.json", f"[{LINE}]".encode("utf-16"), "utf-16-le", {"bom": 1, "encoding": 1}),
        ("a.csv", "指令\t输出\n问\t答\n".encode("utf-16"), "utf-16-le", {"bom": 1, "encoding": 1}),
        ("a.csv", "指令,输出\n问,答\n".encode("gbk"), "gb18030", {"encoding": 1}),
        ("a.json", f"[{LINE},\n]", "utf-8", {"trailing-comma": 1}),
        ("a.json", '{"data": [' + LINE + "]}", "utf-8", {}),
        ("a.json", '{"version": 1, "data": [' + LINE + "]}", "utf-8", {}),
        ("a.json", json.dumps(ROW, indent=2), "utf-8", {}),
        ("a.json", json.dumps([ROW], indent=4), "utf-8", {}),
        ("a.json", LINE + "\n" + LINE, "utf-8", {}),
        ("a.jsonl.gz", gzip.compress(LINE.encode(), mtime=0), "utf-8", {}),
        ("a.csv", "问题;答案\n问;答\n", "utf-8", {}),
        ("a.csv", "提问|回复\n问|答\n", "utf-8", {}),
        ("a.tsv", "ask\tanswer\n问\t答\n", "utf-8", {}),
        ("a.csv", "﻿Instruction , OUTPUT\r\n问,答\r\n".encode(), "utf-8", {"bom": 1}),
        ("a.csv", "ｐｒｏｍｐｔ,ｒｅｐｌｙ\n问,答", "utf-8", {}),
    ],
)
def test_layouts_and_encodings_are_told(
    tmp_path: Path, name: str, content: bytes | str, encoding: str, repairs: dict[str, int]
) -> None:
    report = run(tmp_path, name, content)
    assert written(tmp_path) == [("问", "答")]
    assert report.files[0].encoding == encoding
    assert dict(report.repairs) == repairs
    assert report.balanced


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", f"[{SURE_LINE}]".encode("gbk")), ("a.jsonl", SURE_LINE.encode("gb18030"))]
)
def test_json_in_an_older_encoding_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    report = run(tmp_path, name, content)
    assert written(tmp_path) == [(SURE_ROW["instruction"], SURE_ROW["output"])]
    assert report.files[0].encoding == "gb18030"
    assert dict(report.repairs) == {"encoding": 1}


@pytest.mark.parametrize(
    ("output", "expected", "repairs"),
    [
        ("3", "3", {"number-to-text": 1}),
        ("3.5", "3.5", {"number-to-text": 1}),
        ("123456789012345678901", "123456789012345678901", {"number-to-text": 1}),
        ("true", "true", {"number-to-text": 1}),
        ('"\\u7b54"', "答", {}),
        ('"a\\/b"', "a/b", {}),
        ('" a \\n"', " a \n", {}),
    ],
)
def test_values_become_text(tmp_path: Path, output: str, expected: str, repairs: dict[str, int]) -> None:
    report = run(tmp_path, "a.jsonl", f'{{"instruction": "q", "output": {output}}}\n')
    assert written(tmp_path) == [("q", expected)]
    assert dict(report.repairs) == repairs


@pytest.mark.parametrize(
    ("row", "rule", "words"),
    [
        ('{"instruction": "q", "input": "", "output": null}', "empty-output", "output is empty"),
        ('{"instruction": "q", "input": "", "output": NaN}', "empty-output", "output is empty"),
        ('{"instruction": "q", "input": "", "output": " \\n"}', "empty-output", "output is empty"),
        ('{"instruction": "", "input": "", "output": "a"}', "empty-instruction", "nothing to learn"),
        ('{"instruction": "q"}', "empty-output", "no output column"),
        ('{"instruction": "q", "input": "", "output": ["a"]}', "not-text", "output is a list"),
        ('{"instruction": "q", "input": "", "output": {"a": 1}}', "not-text", "output is an object"),
        ('{"instruction": "q", "input": "", "output": "a"', "not-json", "not valid JSON"),
        ('{"instruction": "q", "output": "a", "output": "b"}', "duplicate-key", "'output' appears twice"),
        ('{"instruction": "q", "input": "", "output": "\\ud800"}', "lone-surrogate", "half"),
        ('["q", "a"]', "not-an-object", "a list"),
        ('{"instruction": "q", "input": "", "output": "a", "history": [["x"]]}', "bad-history", "history entry 1"),
        ('{"instruction": "q", "input": "", "output": "a", "answer": "b"}', "columns", "--map output="),
    ],
)
@pytest.mark.parametrize("layout", ["lines", "array", "pretty"])
def test_rows_that_cant_be_used_are_listed_with_place_and_reason(
    tmp_path: Path, row: str, rule: str, words: str, layout: str
) -> None:
    good = LINE.replace("问", "other")
    if layout == "lines":
        report = run(tmp_path, "a.jsonl", f"{LINE}\n\n{row}\n{good}\n")
        line = 3
    elif layout == "array":
        report = run(tmp_path, "a.json", f"[{LINE},\n{row},\n{good}]")
        line = 2
    else:
        report = run(tmp_path, "a.json", f"[\n  {LINE},\n  {row},\n\n  {good}\n]\n")
        line = 3
    assert (report.rows_in, report.rows_out, report.rejected) == (3, 2, 1)
    (entry,) = rejects(tmp_path)
    assert (entry["rule"], entry["row"], entry["line"]) == (rule, 2, line)
    assert words in entry["reason"]
    assert entry["file"].endswith(("a.json", "a.jsonl"))


def test_a_truncated_list_keeps_its_whole_rows(tmp_path: Path) -> None:
    report = run(tmp_path, "a.json", f"[\n{LINE},\n{LINE[:-5]}")
    assert (report.rows_in, report.rows_out) == (2, 1)
    assert rejects(tmp_path)[0]["line"] == 3


def test_mixed_types_in_an_unused_column_do_no_harm(tmp_path: Path) -> None:
    rows = [{**ROW, "instruction": str(tag), "id": tag} for tag in (1, "two", None, [3], {"four": 4})]
    report = run(tmp_path, "a.json", json.dumps(rows))
    assert report.rows_out == 5


def test_history_comes_before_the_question(tmp_path: Path) -> None:
    row = {**ROW, "history": [["a", "b"], ["c", "d"]], "system": "s"}
    run(tmp_path, "a.json", json.dumps([row]))
    assert written(tmp_path) == [("a", "b", "c", "d", "问", "答")]
    line = (tmp_path / "out" / "x.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)["system"] == "s"
    assert json.loads(line)["tools"] == ""


@pytest.mark.parametrize("cell", ["NA", "None", "null", "nan", "0", " x"])
def test_csv_cells_stay_as_they_are(tmp_path: Path, cell: str) -> None:
    run(tmp_path, "a.csv", f"instruction,input,output\nq,{cell},{cell}\n")
    assert written(tmp_path) == [(f"q\n{cell}", cell)]


def test_ragged_csv_rows_are_rejected_and_no_column_shifts(tmp_path: Path) -> None:
    report = run(tmp_path, "a.csv", 'instruction,input,output\nq,,a,extra\n\n"w\nx",,"b\n"\ny,c\n')
    assert written(tmp_path) == [("w\nx", "b\n")]
    assert report.rows_in == 3
    places = [(entry["row"], entry["line"], entry["rule"]) for entry in rejects(tmp_path)]
    assert places == [(1, 2, "field-count"), (3, 7, "field-count")]
    assert rejects(tmp_path)[0]["reason"] == "4 cells, but the header names 3 columns"


def test_a_quote_that_is_never_closed_is_one_reject(tmp_path: Path) -> None:
    report = run(tmp_path, "a.csv", 'instruction,output\nq,a\n"w,b\nx,c\n')
    assert written(tmp_path) == [("q", "a")]
    assert report.rejects == {"unclosed-quote": 1}
    assert rejects(tmp_path)[0]["line"] == 3


def test_columns_can_be_named(tmp_path: Path) -> None:
    options = ConvertOptions(columns=parse_mapping(["instruction=title", "output=reply"]))
    run(tmp_path, "a.csv", "title,reply\nq,a\n", options=options)
    assert written(tmp_path) == [("q", "a")]


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("a.json", b"", "the file is empty", "Leave it out"),
        ("a.csv", b"\n\n", "the file is empty", "Leave it out"),
        ("a.csv", "title,reply\nq,a\n", "can't tell its format: its fields are title, reply", "--map instruction="),
        ("a.csv", "question,prompt,answer\nq,p,a\n", "'question', 'prompt' could all be the instruction", "--map"),
        ("a.json", '{"a": 1,\n "b": }', ":2:7  not valid JSON", "Correct it there"),
        ("a.json", b'[{"instruction":"\xff\xfe\xff"}]', "UTF-8 fails at byte 17", "--encoding"),
        ("a.json", '{"mcpServers": {"x": {"env": {"API_KEY": "abcdef0123456789"}}}}', "mcpServers", "logs"),
        ("a.csv", b"a\0\0\0b\0\0\0\0,c\n\0\0", "9 of its first 14 bytes are zero", "Name a text file"),
        ("a.xlsx", b"no workbook", "not a readable workbook", "CSV"),
        ("a.parquet", b"no parquet", "not a readable Parquet file", "again"),
        ("a.jsonl.gz", b"no gzip", "broken archive", "again"),
        ("a.json", "[1, 2, 3]", "it holds no objects with named fields", "--map"),
        ("a.csv", "instruction,output\n,a\n", "none of 1 rows can be used", "x.rejects.jsonl"),
    ],
)
def test_files_that_cant_be_used_say_why_and_what_to_do(
    tmp_path: Path, name: str, content: bytes | str, message: str, hint: str
) -> None:
    with pytest.raises(LfwrapError) as caught:
        run(tmp_path, name, content)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "abcdef0123456789" not in str(caught.value.to_json())
    assert not (tmp_path / "out" / "x.jsonl").exists()


def test_rows_that_cant_be_used_say_the_way_out_once_for_each_rule(tmp_path: Path) -> None:
    unanswered, unasked = '{"instruction":"q","output":""}\n', '{"instruction":"","output":"a"}\n'
    with pytest.raises(DataError) as caught:
        run(tmp_path, "a.jsonl", unanswered * 2 + unasked)
    said = [(finding.rule, finding.line, finding.hint) for finding in caught.value.findings]
    assert said == [
        ("empty-output", 1, RULES["empty-output"].hint),
        ("empty-output", 2, ""),
        ("empty-instruction", 3, RULES["empty-instruction"].hint),
    ]


def test_a_reason_that_says_the_way_out_itself_gets_no_other(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, "a.jsonl", '{"instruction":"q","output":"a","weight":2}\n')
    assert [finding.hint for finding in caught.value.findings] == [""]
    assert "--ignore weight" in caught.value.findings[0].message


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        prepare(Request((str(tmp_path / "gone.csv"),), tmp_path / "out", "x"))


def test_utf8_that_breaks_late_is_looked_at_again(tmp_path: Path) -> None:
    ascii_rows = "".join(f'{{"instruction":"q{n}","output":"{"a" * 90}"}}\n' for n in range(12000))
    report = run(tmp_path, "a.jsonl", ascii_rows.encode() + SURE_LINE.encode("gb18030"))
    assert report.rows_out == 12001
    assert report.files[0].encoding == "gb18030"
    assert written(tmp_path)[-1] == (SURE_ROW["instruction"], SURE_ROW["output"])


def test_spreadsheets_and_parquet_are_read(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    parquet, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    book = openpyxl.Workbook()
    for row in (["问题", "答案"], ["一加一", 2], [None, None], ["问", None]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    report = prepare(Request((str(tmp_path / "a.xlsx"),), tmp_path / "out", "x"))
    assert written(tmp_path) == [("一加一", "2")]
    assert (report.rejected, rejects(tmp_path)[0]["line"]) == (1, 4)
    parquet.write_table(pa.table({"question": ["q"], "answer": ["a"]}), tmp_path / "b.parquet")
    prepare(Request((str(tmp_path / "b.parquet"),), tmp_path / "out", "x", force=True))
    assert written(tmp_path) == [("q", "a")]


def test_folders_and_globs_take_every_data_file_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.json", "sub/c.csv", ".hidden.json", "dataset_info.json", "x.report.json", "notes.md"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ask,answer\nq,a\n" if name.endswith("csv") else LINE, encoding="utf-8")
    report = prepare(Request((str(tmp_path / "in"), str(tmp_path / "in" / "*.json*")), tmp_path / "out", "x"))
    names = [Path(file.file).name for file in report.files]
    assert names[:3] == ["a.json", "b.jsonl", "c.csv"]
    assert report.balanced


def test_a_key_that_stands_twice_in_a_file_of_one_object(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of 1 rows can be used"):
        run(tmp_path, "a.json", '{"instruction": "q",\n "output": "a", "output": "b"}')
    assert [reject["rule"] for reject in rejects(tmp_path)] == ["duplicate-key"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_key_that_stands_twice_in_a_list_within_an_object(tmp_path: Path, jobs: int) -> None:
    content = '{"version": 1, "data": [{"instruction": "q", "output": "a", "output": "b"}, ' + LINE + "]}"
    report = run(tmp_path, "a.json", content, jobs=jobs)
    assert (report.rows_out, report.rejects) == (1, {"duplicate-key": 1})
    assert rejects(tmp_path)[0]["row"] == 1
