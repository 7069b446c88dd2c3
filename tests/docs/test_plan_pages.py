"""The tables of plans and of memory in the docs are what the scripts print now."""

from __future__ import annotations

import importlib.util
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


@pytest.mark.parametrize(
    "script", ["benchmarks/plans/best.py", "benchmarks/memory/check.py", "benchmarks/memory/peers.py"]
)
def test_the_page_shows_what_the_script_prints(script):
    module = load(script)
    text = module.PAGE.read_text(encoding="utf-8")
    shown = text.split(module.BEGIN)[1].split(module.END)[0].strip()
    assert shown == module.render().strip(), f"run python {script} --write"


def test_the_best_plans_fit_and_keep_their_rows():
    module = load("benchmarks/plans/best.py")
    plans = {title: module.make_best(machine, overrides) for machine, (title, overrides) in module.MACHINES.items()}
    made = {title: plan for title, plan in plans.items() if not isinstance(plan, Exception)}
    assert len(made) == 4
    for plan in made.values():
        assert plan.fits
        assert plan.option.rows_per_update == pytest.approx(128, rel=0.02)
        assert plan.steps == 8
