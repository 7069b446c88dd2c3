"""`lfwrap prepare-data` as a user runs it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lfwrap.cli import app


def lfwrap(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = app.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "law.csv"
    path.write_text("title,reply\nq1,a1\nq2,a2\nq2,a2\nq3,\n", encoding="utf-8")
    return path


MAP = ("--map", "instruction=title", "--map", "output=reply", "--no-engine-check")


def test_name_and_path_on_stdout_the_rest_on_stderr(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = lfwrap(capsys, "prepare-data", str(source), "--out", str(tmp_path / "o"), "--name", "law", *MAP)
    assert code == 0
    assert out == f"law\t{tmp_path / 'o' / 'law.jsonl'}\n"
    assert "detected: alpaca (--map: title → instruction, reply → output); CSV, comma, 2 columns, utf-8" in err
    for words in ("rows in", "duplicates", "rejected", "empty-output", "law.rejects.jsonl"):
        assert words in err


def test_json_is_the_report(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("prepare-data", str(source), "--out", str(tmp_path / "o"), "--name", "law", *MAP, "--json")
    _, out, _ = lfwrap(capsys, *command)
    report = json.loads(out)
    assert report["schema"] == "lfwrap.data-report/1"
    assert report["rows_in"] == report["rows_out"] + report["rejected"] + report["duplicates"] == 4
    on_disk = json.loads((tmp_path / "o" / "law.report.json").read_text())
    assert on_disk == report


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--strict",), 4, "--strict allows none"),
        (("--max-rejects", "1%"), 4, "--max-rejects allows 1.00%"),
        (("--max-rejects", "many"), 2, "--max-rejects many"),
        (("--val-size", "many"), 2, "--val-size many"),
        (("--map", "answer=x"), 2, "--map answer=x: expected FIELD=COLUMN"),
        (("--map", "output=x"), 2, "given twice"),
        (("--format", "nope"), 2, "--format nope"),
        (("--encoding", "nope"), 2, "--encoding nope"),
        (("--delimiter", "ab"), 2, "--delimiter ab"),
        (("--map", "input=nowhere"), 2, "law.csv: --map input=nowhere: there is no column"),
        (("--template", "qwenn"), 2, "Did you mean 'qwen'?"),
        (("--model", "no/such-model"), 2, "its template isn't known"),
    ],
)
def test_what_is_wrong_is_said_with_its_code(
    *, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, words: str
) -> None:
    command = ("prepare-data", str(source), "--out", str(tmp_path / "o"), "--name", "law", *MAP, *options)
    found, out, err = lfwrap(capsys, *command)
    assert found == code
    assert words in err
    assert out == ""


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(app.app, ["prepare-data", "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.output


def test_out_and_name_are_needed(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = lfwrap(capsys, "prepare-data", str(source), *MAP)
    assert (code, "--out and --name are needed" in err) == (2, True)


def test_frozen_goes_with_a_sources_file(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("prepare-data", str(source), "--out", str(tmp_path / "o"), "--name", "law", *MAP, "--frozen")
    code, _, err = lfwrap(capsys, *command)
    assert (code, "sources.yaml" in err) == (2, True)


@pytest.mark.parametrize("option", [("--jobs", "-1"), ("--cutoff-len", "0")])
def test_numbers_out_of_range_are_usage_errors(tmp_path, capsys, option):
    assert app.run(["prepare-data", str(tmp_path), "--out", str(tmp_path / "o"), "--name", "x", *option]) == 2
    assert option[0] in capsys.readouterr().err
