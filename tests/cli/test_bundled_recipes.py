"""Every bundled recipe starts as it stands, on the machine it is for, and makes the updates its header promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.recipe.library import LibraryEntry, bundled_recipes

RECIPES = {entry.name: entry for entry in bundled_recipes()}
# What nobody reads as a warning: it is for four updates, and its header says that these teach nothing.
TEACHES_NOTHING = "recipes/smoke.yaml"


def header(entry: LibraryEntry) -> str:
    lines = entry.path.read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("#").strip() for line in lines[: lines.index("")])


def foretold(entry: LibraryEntry, capsys: pytest.CaptureFixture[str], *values: str) -> dict[str, Any]:
    hardware = entry.recipe.intent.hardware or "cpu"
    code = run(["train", entry.name, *values, "--dry-run", "--hardware", hardware, "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    job: dict[str, Any] = json.loads(shown.out)
    return job


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MODEL_PATH", raising=False)


@pytest.mark.parametrize("name", RECIPES)
def test_it_starts_and_makes_the_updates_of_its_header(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    job = foretold(RECIPES[name], capsys)
    promised = re.search(r"Updates: (\d+) ", header(RECIPES[name]))
    assert promised, "its header does not say how many updates it makes"
    assert job["schedule"]["updates"] == int(promised[1])
    rules = {finding["rule"] for finding in job["findings"]}
    assert ("few-updates" in rules) == (name == TEACHES_NOTHING)
    assert not rules & {"no-learning", "unknown-dataset", "rows-cut", "repeated-rows", "validation-in-training"}
    assert not [finding for finding in job["findings"] if "report_to" in finding["message"]]


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_counts_the_rows_that_are_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = foretold(RECIPES[name], capsys)["schedule"]["rows"]
    assert re.search(rf"Updates: \d+ \([^)]*\b{rows:,} (of [\d,]+ )?rows of {RECIPES[name].recipe.datasets[0]}\b",
                     header(RECIPES[name])) or "max_steps" in header(RECIPES[name])  # fmt: skip


@pytest.mark.parametrize(("dataset", "updates"), [("harbour_en", 72), ("animals_zh", 90), ("law_zh", 90), ("mcp", 660)])
def test_the_small_recipe_makes_the_updates_that_it_promises_for_each_bundled_set(
    dataset: str, updates: int, capsys: pytest.CaptureFixture[str]
) -> None:
    small = RECIPES["recipes/small.yaml"]
    job = foretold(small, capsys, f"dataset={dataset}")
    assert job["schedule"]["updates"] == updates
    assert re.search(rf"\b{updates} \([\d,]+ rows of [^,)]*\b{dataset}\b", header(small))
    assert not [finding for finding in job["findings"] if finding["rule"] in ("few-updates", "no-learning")]
