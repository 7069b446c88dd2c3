"""`benchmarks/quality.py`: which commands it gives, and the table that it makes of their reports."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(PLACE))
try:
    quality = importlib.import_module("quality")
finally:
    sys.path.remove(str(PLACE))


def model(name, loss, exact):
    calls = {"ast_accuracy": exact, "cases": 200, "no_call_accuracy": exact} if exact is not None else {}
    return {"name": name, "loss": {"loss": loss}, **({"calls": calls} if calls else {})}


@pytest.fixture
def commands(monkeypatch):
    """The commands that were given; each leaves what lfwrap would leave."""
    given: list[list[str]] = []

    def pretend(*arguments):
        given.append([str(argument) for argument in arguments])
        if arguments[0] == "train":
            result = Path(arguments[-1]) / "20260101T000000Z-x/output/all_results.json"
            result.parent.mkdir(parents=True)
            result.write_text("{}")
        elif arguments[0] == "eval":
            models = [model("tuned", 0.5, 0.75)]
            if "--no-base" not in arguments:
                models.insert(0, model("base", 2.0, 0.0))
            Path(arguments[-1]).mkdir()
            (Path(arguments[-1]) / "report.json").write_text(json.dumps({"models": models}))

    monkeypatch.setattr(quality, "lfwrap", pretend)
    return given


def start(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["quality.py", *map(str, arguments)])
    quality.main()


def test_the_tool_calls_are_measured_on_unseen_questions_and_on_unseen_tools(monkeypatch, tmp_path, capsys, commands):
    start(monkeypatch, "r.yaml", "cutoff_len=768", "--seeds", "1,2", "--out", tmp_path)
    assert [command[0] for command in commands] == ["train", "eval", "eval"] * 2
    assert "dataset=mcp" in commands[0]
    assert "cutoff_len=768" in commands[0]
    assert ["seed=1" in commands[0], "seed=2" in commands[3]] == [True, True]
    assert ["mcp_val" in commands[1], "mcp_new_tools" in commands[2]] == [True, True]
    assert ["--no-base" in command for command in commands] == [False, False, False, False, True, True]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("| mcp | mcp_val | 2 | 2.000 → 0.500 (0.500 to 0.500) | 0.0% → 75.0% (")
    assert lines[-1].startswith("| mcp | mcp_new_tools | 2 |")


def test_what_is_there_is_not_done_again(monkeypatch, tmp_path, commands):
    start(monkeypatch, "r.yaml", "--seeds", "1", "--out", tmp_path)
    start(monkeypatch, "r.yaml", "--seeds", "1,2", "--out", tmp_path)
    assert [command[0] for command in commands] == ["train", "eval", "eval"] * 2
    assert "seed=2" in commands[3]


def test_a_set_without_rows_of_its_own_to_measure_on_keeps_some_back(monkeypatch, tmp_path, commands):
    start(monkeypatch, "r.yaml", "--data", "harbour_en,law_zh", "--seeds", "3", "--out", tmp_path)
    assert [command[0] for command in commands] == ["train", "eval", "prepare-data", "train", "eval"]
    assert "val_size=0.1" in commands[0]
    assert "--data" not in commands[1]
    assert f"dataset_dir={tmp_path / 'law_zh'}" in commands[3]


@pytest.mark.parametrize(
    ("models", "cells"),
    [
        ([[model("base", 3.0, 0.0), model("tuned", 1.0, 0.5)]], ["3.000 → 1.000", "0.0% → 50.0%", "200"]),
        (
            [[model("base", 3.0, 0.1), model("tuned", 1.0, 0.5)], [model("tuned", 2.0, 0.7)]],
            ["3.000 → 1.500 (1.000 to 2.000)", "10.0% → 60.0% (50.0% to 70.0%)"],
        ),
        ([[model("tuned", 1.0, 0.5)]], ["? → 1.000", "? → 50.0%"]),
        ([[model("base", 3.0, None), model("tuned", 1.0, None)]], ["3.000 → 1.000", "|  |  |  |"]),
    ],
    ids=["one seed", "two seeds", "no base", "no tools"],
)
def test_the_table_says_base_and_the_mean_of_the_seeds(models, cells):
    text = quality.table({("a", ""): [{"models": each} for each in models]})
    assert text.startswith("| trained on | measured on |")
    assert all(cell in text for cell in cells), text
    assert "rows kept back" in text
