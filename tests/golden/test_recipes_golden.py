"""What each bundled recipe becomes, kept as files: `LFWRAP_UPDATE_GOLDEN=1 pytest tests/golden/test_recipes_golden.py`
writes them anew; read the difference before you commit it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.inputs.data_size import settle_size
from lfwrap.recipe.library import bundled_recipes
from lfwrap.recipe.recipe import build_recipe, load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy import render as rendering
from lfwrap.strategy.planning import Machine, dataset_folder
from lfwrap.strategy.strategy import Strategy, plan_strategy
from lfwrap.yaml_files import parse_yaml

FOLDER = Path(__file__).with_name("recipes")
FACTS = load_engine_facts()
PAPER = {"h100-80gb": 1, "2x-h100-80gb": 2, "4x-h100-80gb": 4, "8x-h100-80gb": 8, "t4": 1, "cpu": 1}
CASES = sorted(
    {(entry.name, entry.recipe.intent.hardware or "cpu") for entry in bundled_recipes()}
    | {("recipes/paper.yaml", machine) for machine in PAPER}
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def choose(values, hardware) -> Strategy:
    """What `lfwrap train` plans there; nothing where nothing fits, and it would say so instead."""
    folder = dataset_folder(values.recipe, Path("/"))
    try:
        return plan_strategy(values, Machine(hardware, hardware.world_size, dataset_dir=folder))
    except PlanError:
        return Strategy()


def render(name: str, machine: str):
    hardware = load_hardware(machine)
    values = resolve_values(settle_size(load_recipe(name, environ={}), Path("/")), FACTS, hardware)
    strategy = choose(values, hardware)
    rendered = rendering.render(
        values, strategy, output_dir="/run/output", dataset_dir="/data", deepspeed_path="/run/ds.json"
    )
    return dataclasses.replace(rendered, notes=(*rendered.notes, *strategy.notes))


def text_of(rendered) -> str:
    deepspeed = "" if rendered.deepspeed is None else f"--- # deepspeed\n{json.dumps(rendered.deepspeed, indent=2)}\n"
    notes = "".join(f"# note: {note}\n" for note in rendered.notes)
    return rendered.engine_yaml + notes + deepspeed


@pytest.mark.parametrize(("name", "machine"), CASES)
def test_rendered(name, machine):
    golden = FOLDER / f"{Path(name).stem}@{machine}.yaml"
    text = text_of(render(name, machine))
    if os.environ.get("LFWRAP_UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "machine"), CASES)
def test_a_rendered_recipe_is_a_recipe_that_stays_as_it_is(name, machine):
    first = render(name, machine)
    recipe = build_recipe(parse_yaml(first.engine_yaml, "engine.yaml"), Path("engine.yaml"))
    again = rendering.render(
        resolve_values(recipe, FACTS, load_hardware(machine)), Strategy(), output_dir="/run/output"
    )
    assert again.engine == first.engine


@pytest.mark.parametrize(("machine", "processes"), PAPER.items())
def test_the_papers_batch_is_128_on_every_machine(machine, processes):
    engine = render("recipes/paper.yaml", machine).engine
    product = engine["per_device_train_batch_size"] * engine["gradient_accumulation_steps"] * processes
    assert product == 128


def test_no_golden_file_is_left_over():
    files = {path.name for path in FOLDER.rglob("*.yaml")}
    assert files == {f"{Path(name).stem}@{machine}.yaml" for name, machine in CASES}
    assert len(files) >= 16
