"""One look through a data file: what the engine would stop on, drop or train on without a word."""

from __future__ import annotations

import pytest

from lfwrap.run.preflight.data import RowCheck, check_file

CHECK = RowCheck(("q", "a"), prompt="q", response="a")
GOOD = '{"q": "x", "a": "y"}'


@pytest.mark.parametrize(
    ("name", "text", "rules", "line"),
    [
        ("d.jsonl", f"{GOOD}\n\n{GOOD}\n", [], None),
        ("d.jsonl", f"\ufeff{GOOD}\n", [], None),
        ("d.json", f"[{GOOD}, {GOOD}]", [], None),
        ("d.json", f"\ufeff [\n{GOOD}]", [], None),
        ("d.csv", "q,a\nx,y\n", [], None),
        ("d.parquet", "whatever", [], None),
        ("d.jsonl", f"{GOOD}\n3\n", ["data-no-object"], 2),
        ("d.json", f"[{GOOD}, 3]", ["data-no-object"], None),
        ("d.jsonl", f'{GOOD}\n{{"q": "x", "a": null}}\n', ["data-dropped"], 2),
        ("d.jsonl", f'{GOOD}\n{{"q": "x", "a": " "}}\n', ["data-empty-response"], 2),
        ("d.jsonl", f'{GOOD}\n{{"q": "", "a": "y"}}\n', ["data-empty-prompt"], 2),
        ("d.jsonl", f"{GOOD}\n{{broken\n", ["data-json"], 2),
        ("d.json", f"[{GOOD},\n{{]", ["data-json"], 2),
        ("d.jsonl", "\n", ["data-empty"], None),
        ("d.json", "[]", ["data-empty"], None),
        ("d.jsonl", '{"x": 1}\n', ["data-columns"], None),
        ("d.csv", "q,b\nx,y\n", ["data-columns"], None),
    ],
)
def test_a_look_through_a_file_names_what_the_engine_would_not(tmp_path, name, text, rules, line):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = check_file(path, CHECK)
    assert [problem.rule for problem in found] == rules
    assert all(problem.hint and problem.message for problem in found)
    assert not found or found[0].line == line


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_a_file_in_another_encoding(tmp_path, name):
    path = tmp_path / name
    path.write_bytes("q,a\n狗,猫\n".encode("gb18030"))
    [problem] = check_file(path, CHECK)
    assert problem.stops
    assert "prepare-data" in problem.hint


def test_all_rows_without_an_answer_stop_the_run(tmp_path):
    path = tmp_path / "d.json"
    path.write_text('[{"q": "x", "a": 1}, {"q": "x", "a": 2}]', encoding="utf-8")
    [problem] = check_file(path, CHECK)
    assert (problem.rule, problem.stops) == ("data-dropped", True)
    assert "2 rows whose a is not text" in problem.message
    assert "The first is row 1." in problem.message
