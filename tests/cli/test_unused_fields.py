"""Fields that are not used: named on the terminal and in the report, ignored on request, an error with --strict."""

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from lfwrap.cli import app

ROOT = Path(__file__).parents[2]


class Result(NamedTuple):
    exit_code: int
    stderr: str


@pytest.fixture
def invoke(capsys):
    def call(*arguments):
        code = app.run(list(arguments))
        return Result(code, capsys.readouterr().err)

    return call


@pytest.fixture
def prepared(tmp_path, invoke):
    def run(path, *arguments):
        result = invoke("prepare-data", str(path), "--out", str(tmp_path / "o"), "--name", "x", "--force",
                        "--no-engine-check", *arguments)  # fmt: skip
        report = tmp_path / "o" / "x.report.json"
        return result, json.loads(report.read_text(encoding="utf-8")) if report.exists() else None

    return run


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _rows(count):
    return [{"instruction": f"q{n}", "output": f"a{n}", "source": "", "tag": f"t{n}" if n > 1 else None}
            for n in range(count)]  # fmt: skip


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("table", [True, False])
def test_each_is_named_with_its_count_and_its_first_value(prepared, tmp_path, jobs, table):
    rows = _rows(700)
    if table:
        path = tmp_path / "a.csv"
        path.write_text("".join([",".join(rows[0]) + "\n"]
                        + [",".join(value or "" for value in row.values()) + "\n" for row in rows]))  # fmt: skip
    else:
        path = _write(tmp_path / "a.jsonl", rows)
    result, report = prepared(path, "--jobs", jobs)
    assert report["unused_fields"] == [
        {"field": "source", "count": 700, "example": None},
        {"field": "tag", "count": 700, "example": "t2"},
    ]
    assert report["files"][0]["unused_fields"][1]["row"] == 3
    assert re.search(r'not used +700  tag, such as "t2"', result.stderr)
    assert re.search(r"not used +700  source, always empty", result.stderr)


def test_what_is_ignored_is_counted_apart(prepared, tmp_path):
    path = _write(tmp_path / "a.jsonl", _rows(5))
    result, report = prepared(path, "--ignore", "tag", "--ignore", "source", "--strict")
    assert result.exit_code == 0
    assert "not used" not in result.stderr
    assert report["unused_fields"] == []
    assert {entry["field"] for entry in report["ignored_fields"]} == {"tag", "source"}


def test_strict_refuses_fields_that_say_something(prepared, tmp_path):
    path = _write(tmp_path / "a.jsonl", _rows(5))
    result, report = prepared(path, "--strict")
    assert result.exit_code != 0
    assert report is None
    assert "tag" in result.stderr
    assert "--ignore tag" in result.stderr.replace("'", "")
    assert "source" not in result.stderr.replace("sources", "")


def test_secrets_in_an_example_are_masked(prepared, tmp_path):
    key = "sk-" + "a1B2" * 12
    path = _write(tmp_path / "a.jsonl", [{"instruction": "q", "output": "a", "note": key}])
    result, report = prepared(path)
    assert key not in result.stderr + json.dumps(report)


def test_a_mixture_names_what_may_be_left_out(tmp_path, invoke):
    _write(tmp_path / "a.jsonl", _rows(5))
    (tmp_path / "sources.yaml").write_text("ignore: [tag, source]\nstrict: true\nsources:\n  - path: a.jsonl\n")
    result = invoke("prepare-data", str(tmp_path / "sources.yaml"), "--no-engine-check")
    assert result.exit_code == 0, result.stderr


def test_the_page_on_fields_shows_what_is_printed(tmp_path, monkeypatch, invoke):
    text = (ROOT / "docs/explanation/fields.md").read_text(encoding="utf-8")
    shown = next(block for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if "category" in block)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    command = "lfwrap prepare-data data/law_zh.csv --out my/data --name law --val-size 0.1"
    assert command in text
    result = invoke(*shlex.split(command)[1:], "--no-engine-check")
    expected = [line for line in shown.splitlines() if not line.startswith("$")]
    assert result.stderr.splitlines() == expected


@pytest.mark.parametrize(
    ("cell", "rule"), [("q\0 1", "zero-byte"), ("q {{idx}}", "placeholder"), ("q <image>", "media-placeholder")]
)
def test_a_row_of_a_plain_table_that_a_rule_rejects_is_shown_with_its_cells(prepared, tmp_path, cell, rule):
    path = tmp_path / "a.csv"
    path.write_text(f"instruction,input,output,tag\n{cell},,a1,x\nq2,,a2,\n", encoding="utf-8")
    result, report = prepared(path, "--template", "qwen2_vl" if rule == "media-placeholder" else "qwen")
    assert result.exit_code == 0, result.stderr
    assert report["rejects_by_rule"] == {rule: 1}
    assert report["train_rows"] == 1
    rejects = (tmp_path / "o" / "x.rejects.jsonl").read_text(encoding="utf-8")
    assert json.loads(rejects)["fields"]["output"] == "a1"


def test_a_name_to_ignore_that_no_row_has_is_said_with_the_nearest(prepared, tmp_path):
    path = _write(
        tmp_path / "a.jsonl", [{"instruction": "q", "output": "a", "source": "web", "metadata": {"site": "w"}}]
    )
    result, report = prepared(path, "--ignore", "sorce", "--ignore", "output", "--ignore", "metadata.site")
    assert report["rows_out"] == 1
    assert "--ignore sorce: no written row has it, or it is read all the same; the nearest is source" in result.stderr
    assert "warning: --ignore output" in result.stderr
    assert "--ignore metadata.site:" not in result.stderr
    assert "warning" not in prepared(path, "--ignore", "source", "--ignore", "metadata")[0].stderr


_WRAPPED = [{"instruction": "q", "output": "a"}]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_a_file_says_beside_its_rows_is_accounted_for(prepared, tmp_path, name):
    path = tmp_path / name
    path.write_text(
        json.dumps({"version": "1.2", "skipped": 3, "info": {"by": "me"}, "status": "ok", "data": _WRAPPED})
    )
    result, report = prepared(path)
    assert [entry["field"] for entry in report["unused_fields"]] == ["(file).version", "(file).skipped", "(file).info",
                                                                     "(file).status"]  # fmt: skip
    assert report["rows_out"] == report["rows_in"] == 1
    result, _ = prepared(path, "--strict")
    assert result.exit_code == 4
    assert "--ignore '(file).version'" in result.stderr
    assert prepared(path, "--strict", "--ignore", "version", "--ignore", "skipped", "--ignore", "info", "--ignore",
                    "status")[0].exit_code == 0  # fmt: skip


@pytest.mark.parametrize(
    ("said", "word"),
    [({"split": "test"}, "split"), ({"label": False}, "label"), ({"label": "bad"}, "label"), ({"weight": 0}, "weight"),
     ({"status": "rejected"}, "status"), ({"metadata": {"split": "validation"}}, "split"),
     ({"deleted": True}, "deleted"), ({"is_test": True}, "is_test")],
)  # fmt: skip
def test_a_file_that_says_its_rows_are_not_for_training_is_refused(prepared, tmp_path, said, word):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**said, "data": _WRAPPED}))
    result, report = prepared(path)
    assert (result.exit_code, report) == (4, None)
    assert f"--ignore {word}" in result.stderr
    assert prepared(path, "--ignore", word)[1]["rows_out"] == 1
    assert prepared(f"{path}#data")[1]["rows_out"] == 1


def test_a_list_of_bad_examples_is_not_mixed_with_good_ones(prepared, tmp_path):
    path = tmp_path / "a.json"
    for name in ("hard_negatives", "bad_examples", "deprecated"):
        path.write_text(json.dumps({"good": _WRAPPED, name: [{"instruction": "q2", "output": "b"}]}))
        assert prepared(path)[0].exit_code == 4
        assert prepared(f"{path}#good")[1]["rows_out"] == 1
