"""From a recipe to what training is set to: what each `speed` lets the plan choose, and what nothing may change."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.keys import LIGER_KEY
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.request import STAGE_KEY
from lfwrap.recipe.recipe import Source, build_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.planning import Machine, unavailable_keys
from lfwrap.strategy.render import render
from lfwrap.strategy.strategy import plan_strategy
from lfwrap.yaml_files import parse_yaml

FACTS = load_engine_facts()
LENGTHS = tuple(random.Random(1).choices(range(30, 600), k=1500))  # noqa: S311
ROWS = RowLengths(max(LENGTHS), sum(LENGTHS) / len(LENGTHS), len(LENGTHS), LENGTHS)
MODEL = "model_name_or_path: Qwen/Qwen2.5-7B-Instruct\nfinetuning_type: lora\nlora_rank: 16\ncutoff_len: 4096\n"
MICRO, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"


def recipe_of(text, *overrides):
    return build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"), overrides)


def plan(text, *overrides, hardware="h100-80gb", rows=ROWS, unavailable=frozenset()):
    profile = load_hardware(hardware)
    values = resolve_values(recipe_of(text, *overrides), FACTS, profile)
    strategy = plan_strategy(values, Machine(profile, profile.world_size, unavailable), rows)
    return strategy, render(values, strategy, output_dir="/o")


def sources(rendered):
    return {value.key: value.source for value in rendered.values}


def test_auto_packs_and_the_engine_gets_it():
    planned, rendered = plan(MODEL + "lfwrap: {effective_batch_size: 128, speed: auto}")
    engine = rendered.engine
    assert engine["packing"] is engine["neat_packing"] is engine["enable_liger_kernel"] is True
    assert engine["cutoff_len"] < 4096
    assert planned.plan.candidate.rows_per_update == pytest.approx(128, rel=0.02)
    product = engine[MICRO] * engine[ACCUMULATION]
    assert product == planned.plan.candidate.batch.effective < 128
    assert sources(rendered)["packing"] is Source.PLAN
    assert all(value.reason for value in rendered.values if value.source is Source.PLAN)
    assert any("rows on average" in note for note in planned.notes)
    assert any(note.startswith("cutoff_len:") for note in rendered.notes)


@pytest.mark.parametrize("speed", ["", ", speed: exact"])
def test_exact_is_the_default_and_changes_no_number(speed):
    _, rendered = plan(MODEL + f"lfwrap: {{effective_batch_size: 128{speed}}}")
    engine = rendered.engine
    assert not {"packing", "neat_packing", LIGER_KEY, "train_sampling_strategy", "use_unsloth_gc"} & set(engine)
    assert engine["cutoff_len"] == 4096
    assert engine[MICRO] * engine[ACCUMULATION] == 128
    assert sources(rendered)[MICRO] is Source.PLAN


def test_none_and_recipes_without_the_block_stay_as_they_are():
    untouched, _ = plan(MODEL + "lfwrap: {effective_batch_size: 128, speed: none}")
    plain, rendered = plan(MODEL + "stage: sft\n")
    assert untouched.settings == plain.settings == {}
    assert Source.PLAN not in sources(rendered).values()


def test_what_is_left_as_it_is_and_would_not_fit_is_said():
    planned, _ = plan(MODEL + f"stage: sft\nbf16: true\n{MICRO}: 64\n", rows=RowLengths(4096))
    assert any("probably not fit" in note for note in planned.notes)


def test_the_command_line_is_never_replaced():
    text = MODEL + "lfwrap: {effective_batch_size: 128, speed: auto}"
    _, rendered = plan(text, "cutoff_len=4096", "packing=false", f"{MICRO}=8")
    assert (rendered.engine["cutoff_len"], rendered.engine["packing"], rendered.engine[MICRO]) == (4096, False, 8)
    assert rendered.engine[ACCUMULATION] == 16


def test_the_recipes_micro_batch_is_the_most_that_is_taken():
    _, rendered = plan(MODEL + f"{MICRO}: 4\nlfwrap: {{effective_batch_size: 128}}")
    assert rendered.engine[MICRO] <= 4


def test_a_block_without_a_batch_keeps_the_engines_product():
    _, rendered = plan(MODEL + f"{MICRO}: 8\n{ACCUMULATION}: 2\nlfwrap: {{speed: exact}}")
    assert rendered.engine[MICRO] * rendered.engine[ACCUMULATION] == 16


def test_what_is_not_installed_is_no_way_to_go():
    text = MODEL + "lfwrap: {effective_batch_size: 128, speed: auto}"
    _, rendered = plan(text, unavailable=frozenset({LIGER_KEY}))
    assert LIGER_KEY not in rendered.engine
    assert unavailable_keys(None) == frozenset()


def test_a_model_that_is_unknown_is_trained_without_a_plan():
    planned, rendered = plan("model_name_or_path: me/unknown\ntemplate: qwen\nlfwrap: {effective_batch_size: 32}")
    assert planned.plan is None
    assert "shapes are not known" in planned.notes[0]
    assert rendered.engine[MICRO] * rendered.engine[ACCUMULATION] == 32


def test_gpus_refuse_what_does_not_fit_and_a_cpu_warns():
    text = MODEL + "lfwrap: {effective_batch_size: 16}"
    with pytest.raises(PlanError) as caught:
        plan(text, hardware="t4")
    assert "quantization_bit=4" in caught.value.hint
    planned, _ = plan(text.replace("7B", "14B"), hardware="cpu")
    assert "probably not fit" in planned.notes[0]


def test_a_zero_stage_of_the_plan_reaches_deepspeed():
    text = MODEL.replace("lora\n", "full\n") + "lfwrap: {effective_batch_size: 128, speed: auto"
    planned, rendered = plan(text + "}", hardware="4x-h100-80gb")
    assert planned.zero_stage == planned.choices[STAGE_KEY] == rendered.zero_stage == 2
    assert rendered.deepspeed["zero_optimization"]["stage"] == 2
    assert STAGE_KEY not in rendered.engine
    chosen, _ = plan(text + ", zero_stage: 3}", hardware="4x-h100-80gb")
    assert chosen.zero_stage is None


def test_an_evaluation_set_keeps_the_cutoff():
    text = MODEL + "eval_dataset: other\nlfwrap: {effective_batch_size: 128, speed: auto}"
    assert plan(text)[1].engine["cutoff_len"] == 4096
