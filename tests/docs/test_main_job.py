"""The README's main job, word for word in a fresh folder: data are prepared, and the training would start and learn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from main_job import HEADS, commands, main_job

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run

# What would start an engine, a server or a conversation: looked at by test_commands_shown, and run in tests/engine.
TAKES_LONG = {"doctor", "compare", "eval", "chat", "serve", "export", "demo"}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A new folder with the bundled data, as a clone has them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").symlink_to(bundled_path("data"))
    return tmp_path


def test_both_pages_show_the_same_commands():
    assert commands("README.md") == commands("README.zh.md")
    assert {words[0] for words in commands("README.md")} >= {"prepare-data", "plan", "train", *TAKES_LONG - {"demo"}}


@pytest.mark.parametrize("page", HEADS)
def test_the_main_job_runs_up_to_the_engine(page, fresh, capsys):
    trained = []
    for words in commands(page):
        if words[0] in TAKES_LONG:
            continue
        extra = {"prepare-data": ["--no-engine-check"], "plan": ["--hardware", "cpu"]}.get(words[0], [])
        if words[0] == "train":
            hardware = "h100-80gb" if any("7B" in word for word in words) else "cpu"
            extra = ["--dry-run", "--hardware", hardware, "--json"]
        assert run([*words, *extra]) == 0, words
        shown = capsys.readouterr()
        if words[0] == "train":
            trained.append(json.loads(shown.out))
    assert len(trained) == 2
    for job in trained:
        assert job["schedule"]["learning_updates"] >= 20
        assert job["engine"]["eval_dataset"] == f"{job['engine']['dataset']}_val"
        assert not [finding for finding in job["findings"] if finding["rule"] in ("few-updates", "no-learning")]


@pytest.mark.parametrize("page", HEADS)
def test_the_output_of_the_first_preparation_is_what_it_prints(page, fresh, capsys):
    first = next(words for words in commands(page) if words[0] == "prepare-data")
    assert run([*first, "--no-engine-check"]) == 0
    shown = capsys.readouterr()
    printed = {line.strip() for line in (shown.out + shown.err).splitlines()}
    by_the_engine = ("the engine loads", "engine reads back")
    for line in next(text for kind, text in main_job(page) if kind == "text").splitlines():
        assert line.strip() in printed or line.strip().startswith(by_the_engine), line
    assert any(line.startswith("not used") and "category" in line for line in printed)


@pytest.mark.parametrize("page", HEADS)
def test_the_files_that_later_commands_read_are_there(page, fresh):
    for words in commands(page):
        if words[0] == "prepare-data":
            assert run([*words, "--no-engine-check"]) == 0
    named = [word for words in commands(page) for word in words if Path(word).suffix in (".txt", ".jsonl", ".csv")]
    assert named
    assert not [name for name in named if not Path(name).is_file()]


def test_the_paper_recipe_learns_as_it_stands(fresh, capsys):
    assert run(["train", "recipes/paper.yaml", "--dry-run", "--hardware", "h100-80gb", "--json"]) == 0
    job = json.loads(capsys.readouterr().out)
    assert job["engine"]["dataset"] == "mcp"
    assert job["schedule"]["learning_updates"] >= 20
