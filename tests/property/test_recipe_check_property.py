"""`recipe check` never crashes, whatever the YAML says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import Finding, PlanError, RecipeError, Severity
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.check import check_recipe
from lfwrap.recipe.inputs.datasets import find_dataset_dir
from lfwrap.recipe.recipe import build_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.render import render
from lfwrap.strategy.strategy import Strategy
from lfwrap.yaml_files import dump_yaml, parse_yaml

FACTS = load_engine_facts()
MACHINES = [None, *map(load_hardware, ("cpu", "t4", "2x-h100-80gb", "m1-16gb"))]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["lora", "full", "sft", "dpo", "steps", "no", "epoch", "qwen", "1e-4", "a/b.json", "q_proj,v_proj", "concat"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from([*FACTS.keys, "lora_rnak", "max_seq_length"]) | st.text(max_size=8)
intents = st.dictionaries(
    st.sampled_from(
        ["effective_batch_size", "zero_stage", "speed", "checkpoint_every_epoch_frac", "offload", "hardware", "x"]
    ),
    values,
    max_size=4,
)
recipes = st.dictionaries(keys, values, max_size=12)


def recipe_of(document: dict):
    text = yaml.safe_dump(document, allow_unicode=True)
    try:
        return build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"))
    except RecipeError:
        return None


@settings(max_examples=150, deadline=None)
@given(
    document=recipes, intent=st.none() | intents | values, with_intent=st.booleans(), machine=st.sampled_from(MACHINES)
)
def test_never_crashes(document, intent, with_intent, machine):
    recipe = recipe_of(document | ({"lfwrap": intent} if with_intent else {}))
    if recipe is None:
        return
    findings = check_recipe(recipe, FACTS, machine)
    find_dataset_dir(recipe, Path("/nowhere"))
    assert all(isinstance(finding, Finding) and finding.rule and finding.message for finding in findings)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_arbitrary_text_is_a_recipe_or_an_error_of_ours(text):
    try:
        recipe = build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"))
    except RecipeError:
        return
    findings = check_recipe(recipe, FACTS, None)
    assert all(finding.rule and finding.message and finding.file for finding in findings)
    unknown = [key for key in recipe.engine_values if key not in FACTS.keys]
    assert len(unknown) <= sum(finding.rule == "unknown-key" for finding in findings)


plain_values = st.dictionaries(
    st.sampled_from(list(FACTS.keys)),
    st.booleans() | st.integers(0, 9) | st.floats(allow_nan=False) | st.text(max_size=9),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(document=plain_values)
def test_a_recipe_without_the_block_is_rendered_unchanged(document):
    recipe = build_recipe(parse_yaml(dump_yaml(document), "r.yaml"), Path("r.yaml"))
    rendered = render(resolve_values(recipe, FACTS, load_hardware("t4")), Strategy(), output_dir="/o")
    assert rendered.engine == {**document, "output_dir": "/o"}
    assert parse_yaml(rendered.engine_yaml, "e.yaml").values == rendered.engine


@settings(max_examples=100, deadline=None)
@given(effective=st.integers(1, 512), machine=st.sampled_from(["cpu", "h100-80gb", "2x-h100-80gb", "8x-h100-80gb"]))
def test_a_rendered_batch_is_exact(effective, machine):
    recipe = build_recipe(
        parse_yaml("model_name_or_path: m", "r.yaml"), Path("r.yaml"), [f"lfwrap.effective_batch_size={effective}"]
    )
    hardware = load_hardware(machine)
    if effective % hardware.world_size:
        with pytest.raises(PlanError, match="can't be made"):
            resolve_values(recipe, FACTS, hardware)
        return
    engine = render(resolve_values(recipe, FACTS, hardware), Strategy(), output_dir="/o").engine
    product = engine["per_device_train_batch_size"] * engine["gradient_accumulation_steps"] * hardware.world_size
    assert product == effective


def test_severities_are_known():
    recipe = recipe_of({"lora_rnak": 1})
    assert recipe is not None
    assert {finding.severity for finding in check_recipe(recipe, FACTS)} <= set(Severity)
