"""Layouts of JSON files: every list of records is read or refused, and any layout gives the same rows."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.data_report import DataReport
from lfwrap.data.output.mix import Shaping
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.sources import Part
from lfwrap.data.request import Request
from lfwrap.errors import DataError


def row(question: str) -> dict[str, str]:
    return {"instruction": question, "input": "", "output": f"to {question}"}


def chat(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": f"to {question}"}]}


TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def run(folder: Path, content: Any, name: str = "a.json", member: str = "", **options: Any) -> DataReport:
    source = folder / name
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    source.write_text(text, encoding="utf-8", newline="")
    request = Request((), folder / "out", "x", parts=(Part(str(source), member=member),), force=True, **options)
    report = prepare(request)
    assert report.balanced
    return report


def asked(folder: Path) -> list[str]:
    lines = (folder / "out" / "x.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"][0]["value"] for line in lines]


INDENTS = pytest.mark.parametrize("indent", [None, 1, 4])


@INDENTS
@pytest.mark.parametrize(
    ("document", "counts"),
    [
        ({"part1": [row("a"), row("b")], "part2": [row("c")]}, {"part1": 2, "part2": 1}),
        ({"x": [row("a")], "y": [row("b")], "z": [row("c")]}, {"x": 1, "y": 1, "z": 1}),
        ({"version": 1, "data": [row("a"), row("b"), row("c")], "meta": {"by": "me"}}, {"data": 3}),
        ({"data": [row("a"), row("b"), row("c")], "version": "v]}\\"}, {"data": 3}),
        ({"data": {"train": [row("a"), row("b"), row("c")]}}, {"data.train": 3}),
        ({"train": [row("a"), row("b"), row("c")], "validation": []}, {"train": 3}),
        ({"train": [chat("a"), chat("b")], "more": [chat("c")]}, {"train": 2, "more": 1}),
        ({"tools": [TOOL], "data": [chat("a"), chat("b"), chat("c")]}, {"data": 3}),
        ({"test": [row("a"), row("b"), row("c")]}, {"test": 3}),
    ],
)
def test_every_list_of_records_is_read(tmp_path: Path, document: Any, counts: Any, indent: int | None) -> None:
    report = run(tmp_path, json.dumps(document, indent=indent))
    assert asked(tmp_path) == ["a", "b", "c"]
    assert report.files[0].lists == counts
    for key in counts:
        assert f'"{key}"' in report.files[0].note
    level = document.get("data", {}) if isinstance(document.get("data"), dict) else document
    assert all(key in report.files[0].note for key in level)


@INDENTS
@pytest.mark.parametrize(
    ("document", "held_out"),
    [
        ({"train": [row("a")], "validation": [row("b")]}, "validation"),
        ({"validation": [row("b")], "train": [row("a")]}, "validation"),
        ({"data": {"train": [row("a")], "test_set": [row("b")]}}, "data.test_set"),
        ({"train": [chat("a")], "devData": [chat("b")]}, "devData"),
        ({"训练": [row("a")], "验证集": [row("b")]}, "验证集"),
        ({"train": [row("a")], "extra": [row("c")], "eval": [row("b")]}, "eval"),
    ],
)
def test_what_is_held_out_is_not_trained(tmp_path: Path, document: Any, held_out: str, indent: int | None) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    with pytest.raises(DataError, match="are not mixed with") as caught:
        run(tmp_path, text)
    assert f"'{held_out}'" in caught.value.message
    assert f"a.json#{held_out} with --name NAME_val" in caught.value.hint
    run(tmp_path, text, member=held_out)
    assert asked(tmp_path) == ["b"]
    run(tmp_path, text, member=next(key for key in ("train", "训练") if f'"{key}"' in text))
    assert asked(tmp_path) == ["a"]


def test_a_list_may_be_the_test_set(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": [row("a"), row("b")], "test": [row("b")]}))
    parts = (Part(str(path), member="train"),)
    shaping = Shaping(test_files=(f"{path}#test",))
    report = prepare(Request((), tmp_path / "out", "x", parts=parts, shaping=shaping))
    assert asked(tmp_path) == ["a"]
    assert report.left_out == {"asked in the test set": 1}


@INDENTS
@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"a": [row("a")], "b": [chat("b")]}, "rows of different kinds (a: alpaca, b: openai)"),
        ({"a": [row("a")], "errors": [{"id": 1}]}, "'errors' may hold records"),
        ({"a": [row("a")], "b": [["q", "a"]]}, "'b' may hold records"),
        ({"a": [{"id": 1}], "b": [{"id": 2}]}, "none of them holds rows of a known kind"),
        ({"validation": [row("a")], "test": [row("b")]}, "are not mixed with each other"),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(
    tmp_path: Path, document: Any, words: str, indent: int | None
) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, json.dumps(document, indent=indent))
    assert words in caught.value.message
    assert "a.json#" in caught.value.hint


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), ("positive", "negative"), ("data", "errors")])
def test_a_list_of_bad_rows_is_not_mixed_with_the_others(tmp_path: Path, good: str, bad: str) -> None:
    document = {bad: [row("b")], good: [row("g")]}
    with pytest.raises(DataError, match=f"'{bad}' holds bad rows") as caught:
        run(tmp_path, document)
    assert caught.value.hint is not None
    assert f"a.json#{good}" in caught.value.hint
    run(tmp_path, document, member=good)
    assert asked(tmp_path) == ["g"]


@pytest.mark.parametrize("first", ['{"instruction":"a","output":"x","output":"y"}', '{"a":1,"a":2}'])
def test_a_first_line_with_a_key_twice_costs_that_line_alone(tmp_path: Path, first: str) -> None:
    report = run(tmp_path, f"{first}\n{json.dumps(row('b'))}\n{json.dumps(row('c'))}\n", "a.jsonl")
    assert (report.rejected, asked(tmp_path)) == (1, ["b", "c"])


def test_a_member_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no list 'trian' in it; its lists: 'train', 'more'"):
        run(tmp_path, {"train": [row("a")], "more": [row("b")]}, member="trian")
    with pytest.raises(DataError, match="there is no list 'train' in it"):
        run(tmp_path, [row("a")], member="train")
    with pytest.raises(DataError, match="the key 'a' appears twice"):
        run(tmp_path, '{"a": [' + json.dumps(row("1")) + '], "a": [' + json.dumps(row("2")) + "]}")


def test_two_lists_of_one_file_are_two_sources(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": [row("a")], "test": [row("b")]}))
    parts = (Part(str(path), member="train"), Part(str(path), member="test"))
    report = prepare(Request((), tmp_path / "out", "x", parts=parts))
    assert [file.file for file in report.files] == [f"{path}#train", f"{path}#test"]
    assert asked(tmp_path) == ["a", "b"]


@INDENTS
@pytest.mark.parametrize(
    "document",
    [
        {"tools": [TOOL], "messages": chat("a")["messages"]},
        {"images": ["x.png"], "id": 3, **chat("a")},
        {"meta": {"list": [row("x"), row("y")]}, **row("a")},
        {"tags": [{"name": "t"}], **row("a")},
    ],
)
def test_one_record_is_one_record_wherever_its_lists_stand(tmp_path: Path, document: Any, indent: int | None) -> None:
    document = {key: value for key, value in document.items() if key != "images"}
    report = run(tmp_path, json.dumps(document, indent=indent))
    assert asked(tmp_path) == ["a"]
    assert report.files[0].lists == {}


@INDENTS
@pytest.mark.parametrize(
    "document",
    [
        {"instruction": ["a", "b"], "output": ["x", "y"]},
        {"instruction": {"0": "a", "1": "b"}, "output": {"0": "x", "1": "y"}, "name": "set"},
        {"0": row("a"), "1": row("b")},
        {"rows": [{"row_idx": 0, "row": row("a"), "truncated_cells": []}, {"row_idx": 1, "row": row("b")}]},
        {
            "features": [{"feature_idx": 0, "name": "instruction", "type": {"dtype": "string"}}],
            "rows": [{"row_idx": n, "row": row(q), "truncated_cells": []} for n, q in enumerate("ab")],
            "num_rows_total": 9,
        },
        [{"row": row("a")}, {"row": row("b")}],
        {"messages": [chat("a")["messages"], chat("b")["messages"]], "id": [1, 2]},
    ],
)
def test_tables_by_columns_by_key_and_by_a_viewer_are_read(tmp_path: Path, document: Any, indent: int | None) -> None:
    report = run(tmp_path, json.dumps(document, indent=indent))
    assert asked(tmp_path) == ["a", "b"]
    assert report.files[0].note.startswith(("JSON", "1 JSON"))


def test_cut_cells_and_columns_of_different_length_are_refused(tmp_path: Path) -> None:
    cut = {"row_idx": 0, "row": row("a"), "truncated_cells": ["output"]}
    report = run(tmp_path, {"rows": [cut, {"row_idx": 1, "row": row("b"), "truncated_cells": []}]})
    assert asked(tmp_path) == ["b"]
    assert report.rejects == {"truncated-cells": 1}
    with pytest.raises(DataError, match=r"differ in length \(instruction: 2, output: 1\)"):
        run(tmp_path, {"instruction": ["a", "b"], "output": ["x"]})


PRETTY = json.dumps(row("a"), indent=2) + "\n" + json.dumps(row("b"), indent=2)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
@pytest.mark.parametrize(
    "text",
    [
        PRETTY,
        json.dumps(row("a")) + json.dumps(row("b")),
        json.dumps(row("a"), indent=2) + "," + json.dumps(row("b")) + ",\n",
        json.dumps(row("a")) + "\n" + json.dumps(row("b"), indent=2),
        "\x1e".join(["", json.dumps(row("a"), indent=1) + "\n", json.dumps(row("b")) + "\n"]).lstrip("\x1e"),
        "\n\n" + PRETTY + "\n\n",
    ],
)
def test_records_in_a_row_are_told_apart(tmp_path: Path, text: str, name: str) -> None:
    run(tmp_path, text, name)
    assert asked(tmp_path) == ["a", "b"]


def test_a_broken_record_in_a_row_of_them_is_named(tmp_path: Path) -> None:
    broken = '{\n  "instruction": "x",\n  "output": ,\n}\n'
    report = run(tmp_path, PRETTY + "\n" + broken + json.dumps(row("c"), indent=2))
    assert asked(tmp_path) == ["a", "b", "c"]
    assert report.rejects == {"not-json": 1}
    reject = json.loads((tmp_path / "out" / "x.rejects.jsonl").read_text())
    assert (reject["row"], reject["line"]) == (3, 11)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "// rows\n[" + json.dumps(row("a")) + "]", ":1:1  not valid JSON: it begins with '// rows'"),
        ("a.json", '{"data": [' + json.dumps(row("a")) + "],}", ":1:64  not valid JSON"),
        ("a.json", '{\n // c\n "instruction": "a", "output": "b"}', ":2:2  not valid JSON"),
        ("a.json", "{'instruction': 'a', 'output': 'b'}", ":1:2  not valid JSON"),
        ("a.json", "[\n" + json.dumps(row("a")) + "]\n[" + json.dumps(row("b")) + "]", ":2  the list of records ends"),
        ("a.json", '{"data": [' + json.dumps(row("a")) + "]}\nend", ":2:1  not valid JSON: something follows"),
        ("a.json", PRETTY + "\n{", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_named_with_line_and_column(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        run(tmp_path, text, name)
    assert message in caught.value.message


def test_a_comment_in_a_list_costs_the_row_that_it_stands_before(tmp_path: Path) -> None:
    rows = [json.dumps(row(question)) for question in "abc"]
    report = run(tmp_path, f"[{rows[0]},\n// no row\n{rows[1]},\n{rows[2]}]")
    assert asked(tmp_path) == ["a", "c"]
    reject = json.loads((tmp_path / "out" / "x.rejects.jsonl").read_text())
    assert "a comment" in reject["reason"]
    assert report.rows_in == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[\n]", "the list is empty"),
        ("{ }", "the object is empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", "a pointer of Git LFS"),
        ("<!DOCTYPE html><html>404</html>", "a web page"),
        ("  <html>\n", "a web page"),
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_what_holds_no_rows_says_what_it_is(tmp_path: Path, name: str, text: str, words: str) -> None:
    if name != "a.csv" or words.startswith("a "):
        with pytest.raises(DataError, match=words):
            run(tmp_path, text, name)


def lone_call(question: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": call}]
    }


@pytest.mark.parametrize("given", [None, "mcpflow-trajectories"])
def test_trajectories_in_objects_are_read_like_all_others(tmp_path: Path, given: str | None) -> None:
    tools = {"tools": [TOOL]}
    rows = [{**lone_call(question), **tools} for question in "abc"]
    for text in (
        json.dumps({"data": rows}, indent=2),
        json.dumps({"part1": rows[:2], "part2": rows[2:]}),
        "\n".join(json.dumps(each) for each in rows),
        "\n".join(json.dumps(each, indent=1) for each in rows),
    ):
        report = run(tmp_path, text, format=given)
        assert (report.files[0].format, asked(tmp_path)) == ("mcpflow-trajectories", ["a", "b", "c"])
    with pytest.raises(DataError, match="are not mixed with"):
        run(tmp_path, {"train": rows[:2], "test": rows[2:]}, format=given)


LONG = {"instruction": "long", "input": "", "output": "x" * 1_100_000}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", json.dumps(LONG) + "\n" + json.dumps(row("b")) + "\n"),
        ("a.json", json.dumps(LONG) + "\n" + json.dumps(row("b"))),
        ("a.json", json.dumps([LONG, row("b")])),
        ("a.json", json.dumps([LONG, row("b")], indent=2)),
        ("a.json", json.dumps({"data": [LONG, row("b")]})),
        ("a.json", json.dumps(LONG, indent=1) + json.dumps(row("b"))),
    ],
)
def test_a_first_record_may_be_long(tmp_path: Path, name: str, text: str) -> None:
    run(tmp_path, text, name)
    assert asked(tmp_path) == ["long", "b"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_single_long_record(tmp_path: Path, name: str) -> None:
    run(tmp_path, json.dumps(LONG), name)
    assert asked(tmp_path) == ["long"]


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
ROWS = st.lists(
    st.builds(lambda q, a: {"instruction": q, "input": "", "output": a}, TEXTS, TEXTS),
    min_size=1,
    max_size=7,
    unique_by=lambda each: (each["instruction"], each["output"]),
)


def layouts(rows: list[dict[str, str]], at: int) -> dict[str, tuple[str, str]]:
    """The rows in every layout: name of the file, text."""
    lines = [json.dumps(each, ensure_ascii=False) for each in rows]
    two = {"part1": rows[:at], "version": "1", "part2": rows[at:]}
    columns = {key: [each[key] for each in rows] for key in ("instruction", "input", "output")}
    return {
        "lines": ("a.jsonl", "\n".join(lines)),
        "list": ("a.json", json.dumps(rows)),
        "pretty list": ("a.json", json.dumps(rows, indent=2, ensure_ascii=False)),
        "wrapper": ("a.json", json.dumps({"data": rows, "n": len(rows)})),
        "two lists": ("a.json", json.dumps(two, ensure_ascii=False)),
        "two pretty lists": ("a.json", json.dumps(two, indent=1)),
        "nested": ("a.json", json.dumps({"meta": {"by": "[{"}, "data": {"train": rows}})),
        "pretty records": ("a.json", "\n".join(json.dumps(each, indent=3) for each in rows)),
        "no space": ("a.txt", "".join(lines)),
        "columns": ("a.json", json.dumps(columns)),
        "by key": ("a.json", json.dumps({str(number): each for number, each in enumerate(rows)})),
        "viewer": ("a.json", json.dumps({"rows": [{"row_idx": 0, "row": each} for each in rows]})),
    }


@settings(max_examples=25, deadline=None)
@given(ROWS, st.data())
def test_any_layout_gives_the_same_rows(tmp_path_factory: pytest.TempPathFactory, rows: Any, data: Any) -> None:
    at = data.draw(st.integers(0, len(rows)))
    folder = tmp_path_factory.mktemp("layouts")
    options = {"chunk_bytes": data.draw(st.sampled_from([1, 40, 1 << 20])), "options": ConvertOptions()}
    written = {}
    for layout, (name, text) in layouts(rows, at).items():
        report = run(folder, text, name, **options)
        assert report.rows_in == len(rows), layout
        written[layout] = (folder / "out" / "x.jsonl").read_bytes()
    assert len(set(written.values())) == 1
