"""The tables of plans and of memory in the docs are what the scripts print now."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load(path):
    folder = str((ROOT / path).parent)
    sys.path.insert(0, folder)
    try:
        spec = importlib.util.spec_from_file_location(f"page_{Path(path).stem}", ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module


SCRIPTS = ["plans/best.py", "memory/check.py", "memory/chosen.py", "memory/peers.py"]


@pytest.mark.parametrize("script", [f"benchmarks/{name}" for name in SCRIPTS])
def test_the_page_shows_what_the_script_prints(script):
    module = load(script)
    assert module.BLOCK.shown() == module.render().strip(), f"run python {script} --write"


def test_the_blind_table_is_what_was_written_down():
    check = load("benchmarks/memory/check.py")
    rows = check.as_written_down()
    assert len(rows) == 13
    assert sum(abs(row["error"]) <= 0.05 for row in rows) == 11
    assert sum(abs(row["step_predicted"] / row["step_measured"] - 1) <= 0.25 for row in rows) == 12


def test_plans_that_were_run_took_the_memory_that_was_planned():
    chosen = load("benchmarks/memory/chosen.py")
    rows = [chosen.compare(json.loads(line)) for line in chosen._RECORDS.read_text().splitlines()]
    assert len(rows) == 33
    assert {row["record"]["name"]: row["error"] for row in rows if abs(row["error"]) > 0.05} == {}
    assert sum(abs(row["predicted_s"] / row["measured_s"] - 1) <= 0.25 for row in rows) >= 32
    for row in rows:
        assert row["record"]["peak_reserved_bytes"] < row["record"]["limit_bytes"]


def test_the_best_plans_fit_and_keep_their_rows():
    module = load("benchmarks/plans/best.py")
    plans = {title: module.make_best(machine, overrides) for machine, (title, overrides) in module.MACHINES.items()}
    made = {title: plan for title, plan in plans.items() if not isinstance(plan, Exception)}
    assert len(made) == 4
    for plan in made.values():
        assert plan.fits
        assert plan.candidate.rows_per_update == pytest.approx(128, rel=0.02)
        assert plan.steps == 8
