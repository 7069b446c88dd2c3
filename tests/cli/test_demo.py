"""`lfwrap demo`: the folder it takes, and how answers are shown."""

from __future__ import annotations

import json
import sys

import pytest

from lfwrap.cli.app import run
from lfwrap.cli.commands.demo import Pair, show_pairs, take_folder
from lfwrap.errors import LfwrapError, PreflightError, UsageError
from lfwrap.inference.questions import ask
from lfwrap.inference.session import Answer


def test_an_empty_or_new_folder_is_taken(tmp_path):
    take_folder(tmp_path / "a" / "b", force=False)
    assert (tmp_path / "a" / "b" / "demo.json").is_file()


def test_an_earlier_demo_is_replaced_only_with_force(tmp_path):
    take_folder(tmp_path, force=False)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="an earlier demo") as caught:
        take_folder(tmp_path, force=False)
    assert "--force" in caught.value.hint
    take_folder(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.parametrize("force", [True, False])
def test_nothing_else_is_ever_removed(tmp_path, force):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not an earlier demo"):
        take_folder(tmp_path, force=force)
    assert (tmp_path / "thesis.tex").exists()


def test_places_that_do_not_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place, kind in ((tmp_path / "file", UsageError), (tmp_path / "file" / "below", LfwrapError)):
        with pytest.raises(kind):
            take_folder(place, force=False)


def test_too_small_a_disk(tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(PreflightError, match="2 GiB needed"):
        take_folder(tmp_path / "x", force=False)


@pytest.mark.parametrize("terminal", [True, False])
def test_answers_stand_side_by_side(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    cut = Answer(0, "long [bold]\n\nanswer", 1, 1, "length", 0.1)
    whole = Answer(0, "short", 1, 1, "stop", 0.1)
    show_pairs((Pair(ask("Why?"), cut, whole),))
    shown = capsys.readouterr().err
    for text in ("Why?", "long [bold] answer …", "short"):
        assert text in shown


def test_without_engine_it_says_how_to_get_one(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LFWRAP_ENGINE_PYTHON", str(tmp_path / "python"))
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["error"]["hint"]
    assert not (tmp_path / "demo-run").exists()
