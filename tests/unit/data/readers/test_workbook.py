"""Workbooks: the sheet with the table is read and the others are named; cells are what the sheet shows."""

from __future__ import annotations

import datetime as dt
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.output.data_report import DataReport
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.sources import parse_part
from lfwrap.data.request import Request
from lfwrap.errors import DataError

openpyxl = pytest.importorskip("openpyxl")
HEAD = ["question", "answer"]
Sheets = dict[str, list[list[Any]]]


def save(tmp_path: Path, sheets: Sheets, hidden: tuple[str, ...] = ()) -> Any:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
        sheet.sheet_state = "hidden" if title in hidden else "visible"
    book.save(tmp_path / "a.xlsx")
    return book


def prepared(tmp_path: Path, *members: str) -> DataReport:
    parts = tuple(parse_part(f"{tmp_path / 'a.xlsx'}{member and '#' + member}") for member in members or ("",))
    return prepare(Request((), tmp_path / "out", "x", parts=parts))


def pairs(tmp_path: Path) -> list[tuple[str, ...]]:
    lines = (tmp_path / "out/x.jsonl").read_text(encoding="utf-8").splitlines()
    return [tuple(turn["value"] for turn in json.loads(line)["conversations"]) for line in lines]


def rejects(tmp_path: Path) -> list[tuple[str, int, str]]:
    lines = (tmp_path / "out/x.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["rule"], row["line"], row["reason"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize(
    ("sheets", "hidden", "note"),
    [
        ({"T": [HEAD, ["q", "a"]]}, (), 'xlsx, sheet "T"'),
        ({"notes": [["by", "me"], ["on", "monday"]], "T": [HEAD, ["q", "a"]]}, (),
         'xlsx, sheet "T"; not read: "notes" (no question and answer)'),
        ({"blank": [], "T": [HEAD, ["q", "a"]]}, (), 'xlsx, sheet "T"; not read: "blank" (empty)'),
        ({"T": [HEAD, ["q", "a"]], "old": [HEAD, ["w", "b"]]}, ("old",), 'xlsx, sheet "T"; not read: "old" (hidden)'),
        ({"T": [HEAD, ["q", "a"]], "todo": [HEAD]}, (), 'xlsx, sheet "T"; not read: "todo" (no rows)'),
        ({"T": [["Questions of May"], [None], ["by", "me"], [*HEAD, "source"], ["q", "a", "s"]]}, (),
         'xlsx, sheet "T", header in row 4'),
        ({"T": [[None]] * 40 + [HEAD, ["q", "a"]]}, (), 'xlsx, sheet "T", header in row 41'),
    ],
)  # fmt: skip
def test_the_only_table_is_read(tmp_path: Path, sheets: Sheets, hidden: tuple[str, ...], note: str) -> None:
    save(tmp_path, sheets, hidden)
    assert prepared(tmp_path).files[0].note == note
    assert pairs(tmp_path) == [("q", "a")]


TWO: Sheets = {"One": [HEAD, ["q", "a"]], "二": [HEAD, ["w", "b"], ["x", "c"]], "memo": [["text"], ["t"]], "none": []}


def test_of_several_tables_one_has_to_be_named(tmp_path: Path) -> None:
    save(tmp_path, TWO)
    with pytest.raises(DataError) as caught:
        prepared(tmp_path)
    said = '2 sheets hold a table: "One" (1 row), "二" (2 rows); beside them "memo" (no question and answer), "none"'
    assert said in caught.value.message
    assert f"'{tmp_path / 'a.xlsx'}#One' '{tmp_path / 'a.xlsx'}#二'" in caught.value.hint


def test_a_sheet_that_is_called_a_number_can_be_named(tmp_path: Path) -> None:
    save(tmp_path, {"2025": [HEAD, ["q", "a"]], "2026": [HEAD, ["w", "b"], ["x", "c"]]})
    with pytest.raises(DataError) as caught:
        prepared(tmp_path)
    assert f"'{tmp_path / 'a.xlsx'}#2026#2'" in caught.value.hint
    prepared(tmp_path, "2026#2")
    assert pairs(tmp_path) == [("w", "b"), ("x", "c")]


@pytest.mark.parametrize(
    ("members", "expected"),
    [(("二",), ["b", "c"]), (("one ",), ["a"]), (("One", "二"), ["a", "b", "c"]), (("One", "二#2"), ["a", "b", "c"])],
)
def test_sheets_can_be_named(tmp_path: Path, members: tuple[str, ...], expected: list[str]) -> None:
    save(tmp_path, TWO)
    prepared(tmp_path, *members)
    assert [answer for _, answer in pairs(tmp_path)] == expected


@pytest.mark.parametrize(
    ("sheets", "member", "words"),
    [
        (TWO, "Two", 'there is no sheet "Two"; the sheets are "One", "二", "memo", "none"'),
        (TWO, "none", 'the sheet "none" is empty'),
        ({"a": [], "b": []}, "", 'no sheet holds a table: "a" (empty), "b" (empty)'),
        ({"a": [HEAD]}, "", 'no sheet holds a table: "a" (no rows)'),
        ({"a": [["question", "answer", "answer"], ["q", "a", "b"]]}, "", "2 columns are named 'answer': 2 and 3"),
    ],
)
def test_what_cant_be_read_is_said(tmp_path: Path, sheets: Sheets, member: str, words: str) -> None:
    save(tmp_path, sheets)
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, member)
    assert words in caught.value.message


DAY = dt.datetime(2026, 3, 1)  # noqa: DTZ001 - as workbooks have them


@pytest.mark.parametrize(
    ("value", "number_format", "expected", "repair"),
    [
        ("007", "General", "007", None),
        (3.0, "General", "3", "number-to-text"),
        (0.1, "0.00", "0.1", "number-to-text"),
        (1234.5, '"$"#,##0.00', "1234.5", "number-to-text"),
        (1e300, "General", "1e+300", "number-to-text"),
        (True, "General", "true", "number-to-text"),
        (0.5, "0%", "50%", "percent-to-text"),
        (0.125, "0.0%;[Red]-0.0%", "12.5%", "percent-to-text"),
        (7, "00000", "00007", "padded-number-to-text"),
        (DAY, "yyyy-mm-dd", "2026-03-01", "time-to-text"),
        (DAY, "yyyy-mm-dd hh:mm", "2026-03-01 00:00:00", "time-to-text"),
        (DAY.replace(hour=12), "yyyy-mm-dd", "2026-03-01 12:00:00", "time-to-text"),
        (dt.time(12, 30), "hh:mm", "12:30:00", "time-to-text"),
        (dt.timedelta(hours=30), "[h]:mm:ss", "30:00:00", "time-to-text"),
        ("#N/A", "General", "#N/A", "error-to-text"),
        ("a_x000D_\nb", "General", "a\r\nb", "sheet-escapes"),
        ("f_x0041_", "General", "f_x0041_", None),
    ],
)
def test_cells_are_what_the_sheet_shows(
    tmp_path: Path, value: Any, number_format: str, expected: str, repair: str | None
) -> None:
    book = save(tmp_path, {"T": [HEAD, ["q", value]]})
    book["T"]["B2"].number_format = number_format
    book.save(tmp_path / "a.xlsx")
    report = prepared(tmp_path)
    assert pairs(tmp_path) == [("q", expected)]
    assert dict(report.repairs) == ({repair: 1} if repair else {})


def test_a_formula_without_a_stored_result_is_no_empty_cell(tmp_path: Path) -> None:
    save(tmp_path, {"T": [[*HEAD, "sum"], ["q", "a", None], ["w", "=1+1", None], ["x", "c", "=A1"]]})
    report = prepared(tmp_path)
    assert [answer for _, answer in pairs(tmp_path)] == ["a", "c"]
    assert rejects(tmp_path) == [("formula-without-result", 3, "B3 is a formula (=1+1) without a stored result")]
    assert report.repairs == {"formula-without-result": 1}  # of a column that is not trained


def change_sheet(path: Path, old: str, new: str) -> None:
    with zipfile.ZipFile(path) as book:
        members = {info.filename: book.read(info) for info in book.infolist()}
    sheet = members["xl/worksheets/sheet1.xml"].decode()
    assert old in sheet
    members["xl/worksheets/sheet1.xml"] = sheet.replace(old, new).encode()
    with zipfile.ZipFile(path, "w") as book:
        for name, content in members.items():
            book.writestr(name, content)


def test_a_formula_with_a_stored_result_is_its_result(tmp_path: Path) -> None:
    save(tmp_path, {"T": [[*HEAD, "input"], ["q", "=1+1", "=A9"]]})
    change_sheet(tmp_path / "a.xlsx", "<f>1+1</f><v></v>", "<f>1+1</f><v>2</v>")
    change_sheet(tmp_path / "a.xlsx", '<c r="C2"><f>A9</f><v></v>', '<c r="C2" t="str"><f>A9</f><v></v>')
    prepared(tmp_path)
    assert pairs(tmp_path) == [("q", "2")]


def test_cells_beyond_a_wrong_extent_are_read(tmp_path: Path) -> None:
    save(tmp_path, {"T": [HEAD, ["q", "a"]]})
    change_sheet(tmp_path / "a.xlsx", '<dimension ref="A1:B2"', '<dimension ref="A1:A1"')
    prepared(tmp_path)
    assert pairs(tmp_path) == [("q", "a")]


def test_merged_cells_hold_for_all_their_rows(tmp_path: Path) -> None:
    rows = [HEAD, ["q", "a"], [None, "b"], [None, None], [None, "c"], ["w", "d"], [None, "e"]]
    book = save(tmp_path, {"T": rows})
    book["T"].merge_cells("A2:A5")
    book.save(tmp_path / "a.xlsx")
    report = prepared(tmp_path)
    assert pairs(tmp_path) == [("q", "a"), ("q", "b"), ("q", "c"), ("w", "d")]
    assert report.repairs["merged-cell"] == 2
    assert [(rule, line) for rule, line, _ in rejects(tmp_path)] == [("empty-instruction", 7)]


def test_rich_text_is_its_text(tmp_path: Path) -> None:
    rich = pytest.importorskip("openpyxl.cell.rich_text")
    font = pytest.importorskip("openpyxl.cell.text").InlineFont(b=True)
    save(tmp_path, {"T": [HEAD, ["q", rich.CellRichText("a ", rich.TextBlock(font, "bold"), " end")]]})
    prepared(tmp_path)
    assert pairs(tmp_path) == [("q", "a bold end")]


@pytest.mark.parametrize("again", [HEAD, ["Question ", "ANSWER"], ["\ufeffquestion", " answer"]])
def test_a_header_that_comes_again_is_no_row(tmp_path: Path, again: list[str]) -> None:
    save(tmp_path, {"T": [HEAD, ["q", "a"], again, ["w", "b"]]})
    prepared(tmp_path)
    assert pairs(tmp_path) == [("q", "a"), ("w", "b")]
    assert [(rule, line) for rule, line, _ in rejects(tmp_path)] == [("repeated-header", 3)]


@pytest.mark.parametrize("name", ["a.xls", "a.xlsb", "a.ods", "a.XLS"])
def test_other_spreadsheets_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0 or whatever")
    with pytest.raises(DataError, match="is not read") as caught:
        prepare(Request((str(tmp_path / name),), tmp_path / "out", "x"))
    assert ".xlsx or as CSV" in caught.value.hint


def test_a_workbook_with_a_password_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"\xd0\xcf\x11\xe0 encrypted")
    with pytest.raises(DataError, match="it has a password"):
        prepared(tmp_path)
