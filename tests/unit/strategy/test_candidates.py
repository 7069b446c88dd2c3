"""The strategies that are worth a trial, and the one that won."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError, UsageError
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.recipe import build_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.candidates import find_candidates
from lfwrap.strategy.planning import Machine
from lfwrap.strategy.strategy import StrategySource, measured_strategy, plan_strategy
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


def values_of(speed, name="h100-80gb"):
    return resolve_values(recipe(speed), FACTS, load_hardware(name))


def machine(name="h100-80gb"):
    return Machine(load_hardware(name), 1)


def test_the_first_way_is_the_plans_own():
    ways = find_candidates(values_of("auto"), machine(), 4)
    own = plan_strategy(values_of("auto"), machine())
    assert ways[0].choices == own.choices
    assert 1 < len(ways) <= 4
    assert not any(way.extension for way in ways)


def test_with_max_autos_own_way_comes_first_and_without_the_extension():
    ways = find_candidates(values_of("max"), machine(), 4)
    assert [way.extension for way in ways] == [False, *[True] * (len(ways) - 1)]
    assert ways[0].choices == find_candidates(values_of("auto"), machine(), 4)[0].choices


@pytest.mark.parametrize("speed", ["exact", "none", None])
def test_where_nothing_may_be_chosen_nothing_is_measured(speed):
    with pytest.raises(UsageError, match="nothing to choose"):
        find_candidates(values_of(speed), machine(), 4)


def test_where_nothing_fits_that_is_said():
    with pytest.raises(PlanError):
        find_candidates(values_of("auto", "t4"), machine("t4"), 4)


def test_a_measured_way_is_followed_to_the_letter():
    values = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 64, "enable_liger_kernel": True}
    followed = measured_strategy(values_of("auto"), machine(), values, "measured")
    assert {key: setting.value for key, setting in followed.settings.items()} == followed.choices == values
    assert {setting.reason for setting in followed.settings.values()} == {"measured"}
    assert followed.source is StrategySource.LOCK
    assert followed.plan.candidate.batch.effective == 128
