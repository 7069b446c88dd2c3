"""The command line of resuming, replaying, training on from adapters; what `runs show` and `list` say."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import pytest

from lfwrap.cli.app import run as lfwrap
from lfwrap.run.folder.history import read_ends
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, prepare_record, utc_now


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(folder: Path, name: str = "one", **changes: object) -> Run:
    paths = create_run_folder(folder / "runs", name)
    record = RunRecord(paths.name, RunState.INTERRUPTED, "r", utc_now(), "", "org/model", "lora", "sft", "qwen")
    paths.recipe.write_text("learning_rate: 0.001\n", encoding="utf-8")
    return prepare_record(paths, dataclasses.replace(record, **changes))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'RECIPE'"),
        (["--resume", "one", "--continue-from-adapter", "one"], "--continue-from-adapter starts a new one"),
        (["--resume", "one", "--name", "x"], "--resume takes neither --name nor --hardware"),
        (["--resume", "one", "--hardware", "cpu"], "--resume takes neither --name nor --hardware"),
    ],
)
def test_options_that_make_no_sense_together(folder, capsys, arguments, words):
    make_run(folder)
    assert lfwrap(["train", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--resume", "--continue-from-adapter"])
def test_an_unknown_run(folder, capsys, option):
    assert lfwrap(["train", option, "nothing"]) == 8
    assert "no run of that name" in capsys.readouterr().err


def test_values_without_a_recipe_are_compared_with_the_runs_own(folder, capsys):
    make_run(folder)
    assert lfwrap(["train", "learning_rate=0.5", "--resume", "one", "--json"]) == 8
    value = json.loads(capsys.readouterr().out)
    assert "learning_rate: it was 0.001 and is 0.5" in value["error"]["message"]


def test_a_folder_with_an_adapter_says_nothing_of_data(folder, capsys):
    (folder / "mine").mkdir()
    (folder / "mine/adapter_config.json").write_text('{"r": 8, "base_model_name_or_path": "m"}', encoding="utf-8")
    (folder / "mine/adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    assert lfwrap(["train", "--continue-from-adapter", "mine"]) == 2
    assert "Name a recipe, too" in capsys.readouterr().err


def test_replay_of_a_folder_without_an_environment(folder, capsys):
    made = make_run(folder)
    made.paths.recipe.write_text("model_name_or_path: m\nlearning_rate: 0.001\n", encoding="utf-8")
    assert lfwrap(["runs", "replay", "one", "--dry-run"]) == 8
    assert "does not say how it was made" in capsys.readouterr().err


def test_show_takes_the_latest_and_names_trackers_and_origin(folder, capsys):
    make_run(folder, "old", created_at="2026-11-21T00:00:00.000Z")
    made = make_run(folder, "new", replay_of="/runs/old")
    made.paths.engine_yaml.write_text("report_to: tensorboard\nrun_name: new\n", encoding="utf-8")
    (made.paths.trackers / "tensorboard").mkdir(parents=True)
    assert lfwrap(["runs", "show"]) == 0
    rows = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert rows["run"].strip() == str(made.paths.root)
    assert rows["repeats"].strip() == "/runs/old"
    assert rows["tensorboard"].split() == ["new", str(made.paths.trackers / "tensorboard")]
    assert lfwrap(["runs", "show", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [each["tracker"] for each in value["trackers"]] == ["tensorboard"]


def log_lines(count: int) -> list[str]:
    return [
        json.dumps({"current_steps": n, "total_steps": count, "loss": 1 / n, "pad": "x" * 50}) for n in range(1, count)
    ]


@pytest.mark.parametrize("count", [2, 3, 100, 2000])
@pytest.mark.parametrize("rest", ["", '{"current_steps": 9, "total_steps": 9}\n', '{"current_st'])
def test_the_ends_of_a_log_are_its_first_and_last_losses(tmp_path, count, rest):
    path = tmp_path / "trainer_log.jsonl"
    path.write_text("".join(line + "\n" for line in log_lines(count)) + rest, encoding="utf-8")
    first, last = read_ends(path)
    assert (first.step, last.step) == (1, count - 1)


@pytest.mark.parametrize("text", ["", "x\n", '{"current_steps": 1, "total_steps": 2}\n'])
def test_a_log_without_losses_has_no_ends(tmp_path, text):
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(text, encoding="utf-8")
    assert read_ends(path) is None
    assert read_ends(tmp_path / "absent") is None
