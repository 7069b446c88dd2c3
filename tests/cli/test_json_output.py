"""`--json`: one object on stdout, its schema first, whatever the command and however it ends."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from lfwrap.cli import app as cli
from lfwrap.cli.app import run
from lfwrap.data.formats import FORMATS

ROWS = [
    {"instruction": "What is one plus one?", "input": "", "output": "Two."},
    {"instruction": "两只猫?", "input": "", "output": "对。"},
    {"instruction": "", "input": "", "output": "Nothing was asked."},
]
WEATHER = {"name": "get_weather", "description": "d", "inputSchema": {"type": "object", "properties": {}}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (tmp_path / "tools.json").write_text(json.dumps([WEATHER]), encoding="utf-8")
    return tmp_path


PREPARE = ("prepare-data", "rows.jsonl", "--out", "data", "--name", "law", "--jobs", "1", "--no-engine-check")

# command line → schema, keys that scripts rely on
COMMANDS: dict[str, tuple[tuple[str, ...], str, set[str]]] = {
    "prepare-data": (PREPARE, "lfwrap.data-report/1", {"name", "files", "rows_in", "train_rows", "rejected"}),
    "data formats": (("data", "formats"), "lfwrap.data-formats/1", {"formats"}),
    "data tools": (("data", "tools", "tools.json"), "lfwrap.data-tools/1", {"tools", "servers", "file", "findings"}),
    "recipe list": (("recipe", "list"), "lfwrap.recipe-list/1", {"recipes"}),
    "recipe check": (
        ("recipe", "check", "recipes/smoke.yaml"),
        "lfwrap.recipe-check/1",
        {"recipe", "engine", "errors", "findings"},
    ),
    "recipe explain": (
        ("recipe", "explain", "recipes/smoke.yaml", "--hardware", "cpu"),
        "lfwrap.recipe-explain/1",
        {"recipe", "hardware", "world_size", "effective_batch_size", "values", "deepspeed", "notes"},
    ),
    "hardware list": (("hardware", "list"), "lfwrap.hardware-list/1", {"machines"}),
    "hardware show": (("hardware", "show", "2x-t4"), "lfwrap.hardware/1", {"name", "kind", "gpus"}),
    "runs list": (("runs", "list"), "lfwrap.run-list/1", {"runs"}),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_success_is_one_object_with_its_schema_first(folder, capsys, case):
    arguments, schema, keys = COMMANDS[case]
    assert run([*arguments, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert next(iter(value)) == "schema"
    assert value["schema"] == schema
    assert keys <= set(value)


FAILURES: dict[str, tuple[tuple[str, ...], str, int]] = {
    "no such command": (("trian",), "UsageError", 2),
    "no such option": (("runs", "list", "--nope"), "UsageError", 2),
    "no such file": (("prepare-data", "nowhere.csv", "--out", "o", "--name", "n"), "DataError", 4),
    "no such format": ((*PREPARE, "--format", "alpacca"), "UsageError", 2),
    "a bad name": (("prepare-data", "rows.jsonl", "--out", "o", "--name", "a,b"), "UsageError", 2),
    "no data set": (("data", "stats", "nowhere"), "DataError", 4),
    "no tools": (("data", "tools"), "UsageError", 2),
    "no recipe": (("recipe", "check", "nowhere.yaml"), "RecipeError", 3),
    "no machine": (("hardware", "show", "h101"), "UsageError", 2),
    "no plan": (("recipe", "explain", "recipes/paper.yaml", "--hardware", "3x-h100-80gb"), "PlanError", 5),
    "no run": (("runs", "show", "latest"), "RunStateError", 8),
    "train: no recipe": (("train", "nowhere.yaml"), "RecipeError", 3),
    "export: no questions": (("export", "x", "--out", "o", "--questions", "nowhere.txt"), "DataError", 4),
    "chat: no question": (("chat", "x"), "UsageError", 2),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_is_one_object_too_with_a_remedy(folder, capsys, case):
    arguments, kind, code = FAILURES[case]
    assert run([*arguments, "--json"]) == code
    captured = capsys.readouterr()
    value = json.loads(captured.out)
    assert value["schema"] == "lfwrap.error/1"
    error = value["error"]
    assert (error["kind"], error["exit_code"]) == (kind, code)
    assert error["message"] or error["findings"]
    assert error["hint"] or any(finding["hint"] for finding in error["findings"])
    assert error["message"].split("\n")[0] in captured.err


def leaves(command: click.Command, path: tuple[str, ...] = ()):
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield path, command


# What they print is a file already, or goes on for as long as one looks.
WITHOUT_JSON = {("recipe", "show"), ("recipe", "schema"), ("recipe", "new"), ("recipe", "import"), ("runs", "watch")}


@pytest.mark.parametrize(("path", "command"), [pytest.param(*leaf, id=" ".join(leaf[0])) for leaf in leaves(cli.app)])
def test_every_command_has_help_an_example_and_json(path, command):
    assert command.help
    assert "Example:" in command.help
    assert f"lfwrap {' '.join(path)}" in command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.rstrip().endswith((".", "!", ")")), (parameter.name, parameter.help)
    has_json = any("--json" in parameter.opts for parameter in command.params)
    if path not in WITHOUT_JSON:
        assert has_json, path


def test_data_formats_lists_each_with_its_evidence(folder, capsys):
    run(["data", "formats", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["formats"]}
    assert set(rows) == set(FORMATS)
    assert all(row["told_by"] and row["description"] and json.loads(row["example"]) for row in rows.values())
    run(["data", "formats"])
    out = capsys.readouterr().out
    assert all(name in out and FORMATS[name].description in out for name in FORMATS)


def test_prepare_data_counts_add_up(folder, capsys):
    assert run([*PREPARE, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_in"], report["train_rows"], report["rejected"]) == (3, 2, 1)


def test_data_stats_and_show_of_what_was_prepared(folder, capsys):
    run([*PREPARE])
    capsys.readouterr()
    assert run(["data", "stats", "law", "--dataset-dir", "data", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert (stats["schema"], stats["rows"]) == ("lfwrap.data-stats/1", 2)
    assert run(["data", "show", "law", "--dataset-dir", "data", "--json", "-n", "1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "lfwrap.data-rows/1"
    assert [row["conversations"][-1]["value"] for row in shown["rows"]] == ["Two."]


def test_no_command_prints_colour_or_progress_on_stdout(folder, capsys):
    for arguments, _, _ in COMMANDS.values():
        run([*arguments, *(("--force",) if arguments is PREPARE else ())])
    assert "\x1b" not in capsys.readouterr().out
