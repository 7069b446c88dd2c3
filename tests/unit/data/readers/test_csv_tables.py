"""CSV as programs write it: what is the table's is read exactly, what readers would differ on is rejected by name."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.data_report import DataReport
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import DataError

Pairs = list[tuple[str, ...]]


def run(folder: Path, content: str, name: str = "a.csv", **options: Any) -> tuple[DataReport, Pairs]:
    (folder / name).write_bytes(content.encode())
    report = prepare(Request((str(folder / name),), folder / "out", "x", force=True, **options))
    lines = (folder / "out/x.jsonl").read_text(encoding="utf-8").splitlines()
    return report, [tuple(turn["value"] for turn in json.loads(line)["conversations"]) for line in lines]


def rejects(folder: Path) -> list[tuple[str, int, str]]:
    lines = (folder / "out/x.rejects.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["rule"], row["line"], row["reason"]) for row in map(json.loads, lines)]


CELL = st.text(st.sampled_from("ab\",;\t|\n\r\\ é猫'="), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12, unique=True),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.integers(1, 60),
)
@example([('a\\"b', "c")], ",", "\n", csv.QUOTE_ALL, 1)
def test_what_pythons_csv_writes_comes_back(
    rows: list[tuple[str, str]], delimiter: str, line_break: str, quoting: Any, chunk_bytes: int
) -> None:
    """In any dialect that doubles quotes, with any size of chunks; a bare \\r needs quotes that QUOTE_MINIMAL omits."""
    if quoting == csv.QUOTE_MINIMAL and any("\r" in cell or "\n" in cell for row in rows for cell in row):
        quoting = csv.QUOTE_ALL
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=line_break, quoting=quoting)
    writer.writerows([("question", "answer"), *rows])
    with tempfile.TemporaryDirectory() as name:
        report, pairs = run(Path(name), sink.getvalue(), chunk_bytes=chunk_bytes)
    assert pairs == rows
    assert (report.rows_in, report.rejected) == (len(rows), 0)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("dialect", ["excel", "excel-tab", "unix"])
def test_any_number_of_jobs_gives_the_same(tmp_path: Path, dialect: str, jobs: int) -> None:
    rows = [(f'q{n} "{n}"', "a\n" * (n % 50) + f"{n}\tb,") for n in range(3000)]
    sink = io.StringIO(newline="")
    csv.writer(sink, dialect=dialect).writerows([("question", "answer"), *rows])
    assert run(tmp_path, sink.getvalue(), jobs=jobs, chunk_bytes=1 << 12)[1] == rows


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.text(st.sampled_from('a",\n\\ '), max_size=14), min_size=1, max_size=5), st.integers(1, 20)
)  # fmt: skip
def test_no_broken_quote_changes_a_cell(raw: list[str], chunk_bytes: int) -> None:
    """Whatever stands between two good rows: each row that is written is one that strict readers see, too."""
    text = "question,answer\nfirst,row\n" + "\n".join(raw) + "\nlast,row\n"
    with tempfile.TemporaryDirectory() as name:
        report, pairs = run(Path(name), text, chunk_bytes=chunk_bytes)
        whole, whole_pairs = run(Path(name), text)
    assert pairs == whole_pairs
    assert (report.rows_in, report.rejects) == (whole.rows_in, whole.rejects)
    for question, answer in pairs:
        spelled = [csv_cell(cell, always=always) for cell in (question, answer) for always in (False, True)]
        assert any(f"{ask},{tell}" in text for ask in spelled[:2] for tell in spelled[2:])


def csv_cell(cell: str, *, always: bool) -> str:
    return '"' + cell.replace('"', '""') + '"' if always else cell


HEAD = "question,answer\n"


@pytest.mark.parametrize(
    ("row", "rule", "words"),
    [
        ('"say "hi" now",a\n', "text-after-quote", "at column 7 'hi\" now\",a'"),
        ('q,"a"b\n', "text-after-quote", "at column 6 'b'"),
        ('"q" ,a\n', "text-after-quote", "at column 4 ' ,a'"),
        ('"say \\"hi\\"",a\n', "text-after-quote", "a backslash before it has no meaning"),
        ('"two\nlines" x,a\n', "text-after-quote", "at column 7, 1 lines on, ' x,a'; the row takes up 2 lines"),
        ('say \\"hi\\",a\n', "escaped-quote", "at column 5, in a cell without quotes"),
        ('q, "a"\n', "space-before-quote", "at column 3, before the quote"),
        ('  "q",a\n', "space-before-quote", "at column 1, before the quote"),
        ('" ""q""", a\n', None, ""),
        ("q,a,\n", None, ""),
        ("q,a,b\n", "field-count", "3 cells, but the header names 2 columns"),
        ("3,5,7\n", "field-count", "3 cells"),
        ("q\n", "field-count", "1 cells"),
        ("question,answer\n", "repeated-header", "says again"),
        ("Question , ANSWER\n", "repeated-header", "says again"),
        ("\ufeffquestion,answer\n", "repeated-header", "says again"),
        ('"question","answer"\n', "repeated-header", "says again"),
        ("question,answer me\n", None, ""),
        ('plain "mid" quote,a\n', None, ""),
        ('"code(\\""x\\"")",a\n', None, ""),
        ("a\\nb,c\\td\n", None, ""),
    ],
)
@pytest.mark.parametrize("more", ["", ",note\n"])
def test_rows_that_readers_differ_on_are_rejected_with_their_place(
    tmp_path: Path, row: str, rule: str | None, words: str, more: str
) -> None:
    """On the fast path and off it: a ragged row sends the whole block the long way."""
    report, pairs = run(tmp_path, f"{HEAD}first,row\n{row}{more}last,row\n")
    found = [entry for entry in rejects(tmp_path) if entry[1] == 3]
    assert [entry[0] for entry in found] == ([rule] if rule else [])
    assert all(words in reason for _, _, reason in found)
    assert (pairs[0], pairs[-1]) == (("first", "row"), ("last", "row"))
    assert report.rows_in == 3 + bool(more)


@pytest.mark.parametrize("cell", [' "x"', 'a \\"x\\"'])
@pytest.mark.parametrize("more", ["", "q,a\n"])
def test_quotes_of_columns_that_are_not_read_do_no_harm(tmp_path: Path, cell: str, more: str) -> None:
    report, pairs = run(tmp_path, f"question,answer,note\nq,a,{cell}\nw, b,c\n{more}")
    assert (pairs, report.rejected) == ([("q", "a"), ("w", " b")], bool(more))


@pytest.mark.parametrize("more", ["", "q,a\n"])
def test_a_blank_before_a_quote_is_found_in_every_column_that_is_read(tmp_path: Path, more: str) -> None:
    rows = [' "q",i,a', 'q, "i",a', 'q,i, "a"', 'q,i,  "a"', "q, i, a"]
    _, pairs = run(tmp_path, "question,input,answer\n" + "\n".join(rows) + "\n" + more)
    assert pairs == [("q\n i", " a")]
    assert [(rule, line) for rule, line, _ in rejects(tmp_path)][:4] == [("space-before-quote", n) for n in range(2, 6)]


def test_a_quote_that_is_never_closed_says_what_it_takes_along(tmp_path: Path) -> None:
    _, pairs = run(tmp_path, HEAD + 'first,row\n"open,a\nq,b\nw,c\n')
    assert pairs == [("first", "row")]
    assert rejects(tmp_path) == [
        (
            "unclosed-quote",
            3,
            "a quote opened in this row is never closed: the 3 lines from here to the end are one cell",
        )
    ]


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("sep=;\nquestion;answer\nq;a\n", "CSV, semicolon, 2 columns, 1 row above the header"),
        ('"sep=|"\r\nquestion|answer\r\nq|a\r\n', "CSV, bar, 2 columns, 1 row above the header"),
        ("\ufeffsep=,\nquestion,answer\nq,a\n", "CSV, comma, 2 columns, 1 row above the header"),
        ("Export of May\n\nquestion,answer\nq,a\n", "CSV, comma, 2 columns, 1 row above the header"),
        ("Export,,\nby,me,\nquestion,answer,note\nq,a,\n", "CSV, comma, 3 columns, 2 rows above the header"),
        ("question;answer, or so;note\nq;a;n,m\n", "CSV, semicolon, 3 columns"),
        ("question\ranswer\r".replace("\r", ",", 1) + "q,a\r", "CSV, comma, 2 columns"),
        ("question,answer,,\nq,a,,\n", "CSV, comma, 4 columns"),
        ("question,answer,,\nq,a\n", "CSV, comma, 4 columns"),
        ("question,,answer\nq,,a\n", "CSV, comma, 3 columns"),
        ('question, answer\n"q", "a"\n', "CSV, comma, 2 columns, a blank after each delimiter left out"),
        ('question, answer\nq, "a"\n', "CSV, comma, 2 columns, a blank after each delimiter left out"),
        ("\u200bquestion,answer\u00a0\nq,a\n", "CSV, comma, 2 columns"),
        ("note,question,answer,note\n1,q,a,2\n", "CSV, comma, 4 columns"),
    ],
)
def test_the_header_is_found(tmp_path: Path, content: str, note: str) -> None:
    options = ConvertOptions(columns={"output": "answer, or so"}) if "or so" in content else ConvertOptions()
    report, pairs = run(tmp_path, content, options=options)
    assert pairs == [("q", "a")]
    assert report.files[0].note == note


def test_lines_are_counted_from_the_files_beginning(tmp_path: Path) -> None:
    run(tmp_path, "sep=,\nA title\n\n" + HEAD + "q,a\nw,b,c\n")
    assert [(rule, line) for rule, line, _ in rejects(tmp_path)] == [("field-count", 6)]


def test_columns_that_are_not_read_are_named_those_without_a_name_only_where_they_hold_something(
    tmp_path: Path,
) -> None:
    report, _ = run(tmp_path, "input,A,B,,output,\nWhich?,car,apple,,B,\n")
    assert sorted(report.files[0].unused_fields) == ["A", "B"]
    report, _ = run(tmp_path, "input,A,B,,output,\nWhich?,car,apple,x,B,\n")
    assert sorted(report.files[0].unused_fields) == ["A", "B", "column 4"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("question,answer\n", "the sources hold no rows"),
        ("question,answer,answer\nq,a,b\n", r"a\.csv:1  2 columns are named 'answer': 2 and 3"),
        ("| question | answer |\n|---|:-:|\n| q | a |\n", r"a\.csv:1  this is a Markdown table"),
        ("A title\nquestion,question,answer\nq,a,b\n", r"a\.csv:2  2 columns are named 'question'"),
        ("title,reply\nquestion,answer\n", "can't tell its format: its fields are title, reply"),
    ],
)
def test_tables_that_cant_be_read(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run(tmp_path, content)


def test_a_column_that_is_mapped_is_found_below_a_title(tmp_path: Path) -> None:
    options = ConvertOptions(columns={"instruction": "title", "output": "reply"})
    assert run(tmp_path, "Made in May,\n\ntitle,reply\nq,a\n", options=options)[1] == [("q", "a")]


def test_empty_cells_beyond_the_header_are_left_out_and_counted(tmp_path: Path) -> None:
    report, pairs = run(tmp_path, HEAD + "q,a,,\nw,b\n")
    assert (pairs, dict(report.repairs)) == ([("q", "a"), ("w", "b")], {"empty-cells": 1})


def test_quoted_cells_after_blanks_may_hold_delimiters_and_line_breaks(tmp_path: Path) -> None:
    rows = "".join(f'"q{n}, x", "a\n{n}"\n' for n in range(90))
    for chunk_bytes in (1 << 20, 7):
        _, pairs = run(tmp_path, "question, answer\n" + rows, chunk_bytes=chunk_bytes)
        assert pairs == [(f"q{n}, x", f"a\n{n}") for n in range(90)]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_suffix_is_no_proof_of_the_delimiter(tmp_path: Path, name: str) -> None:
    for content in ("question,answer\nq,a\n", "question\tanswer\nq\ta\n"):
        assert run(tmp_path, content, name)[1] == [("q", "a")]


@pytest.mark.parametrize("name", ["a.tsv", "a.tab"])
def test_tabs_may_hold_escapes_that_stay(tmp_path: Path, name: str) -> None:
    assert run(tmp_path, "question\tanswer\na\\nb\tc\\td\n", name)[1] == [("a\\nb", "c\\td")]
