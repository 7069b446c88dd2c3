"""Run folders that an earlier lfwrap wrote are gone on with, compared, measured and exported by this one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

UPDATES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, old_runs: Callable[[Path], Path]) -> Path:
    folder = tmp_path_factory.mktemp("old")
    old_runs(folder)
    return folder


def lfwrap(place: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "lfwrap", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_folder(place: Path, name: str) -> Path:
    (found,) = (place / "runs").glob(f"*-{name}-*")
    return found


def losses(folder: Path) -> dict[int, float]:
    lines = (folder / "output" / "trainer_log.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["current_steps"]: entry["loss"] for entry in entries if "loss" in entry}


def test_a_stopped_run_goes_on_along_its_curve(place: Path) -> None:
    folder = run_folder(place, "stopped")
    lfwrap(place, "runs", "resume", str(folder), "-q")
    assert json.loads((folder / "record.json").read_text(encoding="utf-8"))["state"] == "succeeded"
    through = losses(run_folder(place, "through"))
    assert sorted(through) == list(range(1, UPDATES + 1))
    assert losses(folder) == pytest.approx(through, abs=1e-3)  # made by another processor, perhaps


def test_a_finished_run_is_compared_and_measured(place: Path) -> None:
    folder = str(run_folder(place, "through"))
    (place / "questions.txt").write_text("What is 1 plus 1?\n", encoding="utf-8")
    asked = ["--questions", "questions.txt", "--max-new-tokens", "4", "--out", "compared", "--json"]
    found = json.loads(lfwrap(place, "compare", folder, *asked))
    assert found["questions"]
    value = json.loads(lfwrap(place, "eval", folder, "--data", "data/tiny.jsonl", "--limit", "4", "--json"))
    base, tuned = (model["loss"]["loss"] for model in value["models"])
    assert tuned < base


def test_a_finished_run_is_exported_and_answers_as_it_did(place: Path) -> None:
    lfwrap(place, "export", str(run_folder(place, "through")), "--out", "merged")
    note = json.loads((place / "merged" / "export.json").read_text(encoding="utf-8"))
    assert note["parity"]["passed"] is True
