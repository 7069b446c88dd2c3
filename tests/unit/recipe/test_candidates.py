"""The ways that are worth a trial, and the plan of one that won."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError, UsageError
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.recipe import build_recipe
from lfwrap.strategy.candidates import find_ways, follow_values
from lfwrap.strategy.planning import Machine, plan_training
from lfwrap.yaml_files import parse_yaml

RECIPE = """\
model_name_or_path: Qwen/Qwen2.5-7B-Instruct
template: qwen
stage: sft
finetuning_type: lora
lora_rank: 64
lora_target: all
dataset: elsewhere
cutoff_len: 1024
bf16: true
"""
FACTS = load_engine_facts(None)


def recipe(speed, *overrides):
    block = f"lfwrap:\n  effective_batch_size: 128\n  speed: {speed}\n" if speed else ""
    return build_recipe(parse_yaml(RECIPE + block, "my.yaml"), Path("my.yaml"), overrides)


def machine(name="h100-80gb"):
    return Machine(load_hardware(name), 1)


def test_the_first_way_is_the_plans_own():
    ways = find_ways(recipe("auto"), FACTS, machine(), 4)
    own = plan_training(recipe("auto"), FACTS, machine())
    assert ways[0].values == {key: value for key, (value, _) in own.values.items()}
    assert 1 < len(ways) <= 4
    assert not any(way.extended for way in ways)


def test_with_max_autos_own_way_comes_first_and_without_the_extension():
    ways = find_ways(recipe("max"), FACTS, machine(), 4)
    assert [way.extended for way in ways] == [False, *[True] * (len(ways) - 1)]
    assert ways[0].values == find_ways(recipe("auto"), FACTS, machine(), 4)[0].values


@pytest.mark.parametrize("speed", ["exact", "none", None])
def test_where_nothing_may_be_chosen_nothing_is_measured(speed):
    with pytest.raises(UsageError, match="nothing to choose"):
        find_ways(recipe(speed), FACTS, machine(), 4)


def test_where_nothing_fits_that_is_said():
    with pytest.raises(PlanError):
        find_ways(recipe("auto"), FACTS, machine("t4"), 4)


def test_a_measured_way_is_followed_to_the_letter():
    values = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 64, "enable_liger_kernel": True}
    planned = follow_values(recipe("auto"), FACTS, machine(), values, "measured")
    assert {key: value for key, (value, _) in planned.values.items()} == values
    assert {reason for _, reason in planned.values.values()} == {"measured"}
    assert planned.plan.candidate.batch.effective == 128
