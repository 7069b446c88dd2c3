"""Plans: the fastest that fits, what stays as it was asked for, and what to do when nothing fits."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lfwrap.engine.keys import (
    EVAL_BATCH_KEY,
    LIGER_KEY,
    LOADERS_KEY,
    MICRO_KEY,
    NO_CHECKPOINTING_KEY,
    OFFLOADED_CHECKPOINTS_KEY,
    SAMPLING_KEY,
)
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.candidate import device_limit_bytes
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.plan import make_plan, predict_plan
from lfwrap.plan.request import STAGE_KEY, PlanRequest
from lfwrap.plan.search import find_candidates
from lfwrap.units import GIB

VALUES = {
    "finetuning_type": "lora",
    "lora_rank": 64,
    "lora_dropout": 0.1,
    "lora_target": "all",
    "cutoff_len": 4096,
    "bf16": True,
    "optim": "adamw_torch",
    "num_train_epochs": 1.0,
}
ALPACA = RowLengths(700, 170.0, 52_000)


def request(hardware="h100-80gb", rows=None, **changes):
    machine = load_hardware(hardware)
    base = PlanRequest(
        model=catalog_model(changes.pop("model", "qwen2.5-7b")),
        values={**VALUES, **changes.pop("values", {})},
        hardware=machine,
        world_size=machine.world_size,
        rows=rows or RowLengths(4096),
        batch=BatchPlan(16, 8 // machine.world_size, machine.world_size),
        effective_batch=128,
        speed="auto",
        pinned=frozenset(VALUES),
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("hardware", ["h100-80gb", "2x-h200", "rtx-4090", "a100-40gb", "8x-l40s"])
def test_a_plan_fits_keeps_the_batch_and_is_the_fastest(hardware):
    asked = request(hardware)
    plan = make_plan(asked)
    assert plan.fits
    assert plan.candidate.memory.device_bytes <= device_limit_bytes(asked.hardware)
    assert plan.candidate.rows_per_update == plan.candidate.batch.effective == 128
    rates = [candidate.speed.tokens_per_s for candidate in find_candidates(asked) if candidate.fits]
    assert plan.candidate.speed.tokens_per_s >= 0.9 * max(rates)


def test_without_lengths_nothing_is_packed_and_that_is_said():
    plan = make_plan(request())
    assert set(plan.candidate.changes) <= {LIGER_KEY, NO_CHECKPOINTING_KEY, LOADERS_KEY}
    assert any("lfwrap data stats" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 2),
        ({"speed": "exact"}, 2),
        ({"speed": "none"}, None),
        ({"pinned": frozenset({*VALUES, LOADERS_KEY})}, None),
        ({"world_size": 64}, None),
    ],
)
def test_micro_batches_are_made_ahead_where_cores_are_to_spare(changes, expected):
    asked = request(rows=ALPACA)
    cores = dataclasses.replace(asked.hardware, cpu_cores=16)
    asked = dataclasses.replace(asked, hardware=cores, **changes)
    found = {candidate.changes.get(LOADERS_KEY, (None, ""))[0] for candidate in find_candidates(asked)}
    assert found <= {expected}


@pytest.mark.parametrize(
    ("stored", "values", "said"),
    [
        ("bfloat16", {"bf16": True}, None),
        ("float32", {"bf16": True}, "28.37 GiB, where 16 bit takes 14.19 GiB"),
        ("float16", {"bf16": True}, "lfwrap export /m --out DIR --dtype bf16`"),
        ("bfloat16", {"bf16": False, "fp16": True}, "--dtype fp16"),
        ("float32", {"bf16": False, "pure_bf16": True}, "pure_bf16 casts nothing"),
        ("float32", {"bf16": True, "finetuning_type": "full"}, None),
    ],
)
def test_a_checkpoint_in_another_type_than_products_is_said_to_cost(stored, values, said):
    model = dataclasses.replace(catalog_model("qwen2.5-7b"), name="/m", dtype=stored)
    base = request("h200", rows=ALPACA, values=values)
    plan = predict_plan(dataclasses.replace(base, model=model))
    about = [note for note in plan.notes if "lfwrap export" in note]
    assert len(about) == (said is not None)
    assert said is None or said in about[0]


def test_the_type_of_the_checkpoint_reaches_the_plan():
    asked = request("h200", rows=ALPACA)
    recast = dataclasses.replace(asked, model=dataclasses.replace(asked.model, dtype="float32"))
    weights = [make_plan(each).candidate.memory.terms[0].bytes for each in (asked, recast)]
    assert weights[1] == 2 * weights[0] == 4 * asked.model.parameters


def test_short_rows_are_packed_and_the_rows_of_an_update_are_said():
    plan = make_plan(request(rows=ALPACA))
    assert plan.candidate.changes["packing"][0] is True
    assert plan.candidate.packs.rows_per_pack > 10
    assert plan.candidate.rows_per_update == pytest.approx(128, rel=0.02)
    assert f"lfwrap.effective_batch_size={plan.candidate.batch.effective}" in plan.overrides
    assert any("packs" in note for note in plan.notes)


def test_packs_of_rows_of_unknown_length_are_not_counted_as_rows():
    packing = {"packing": True, "neat_packing": True}
    plan = make_plan(request(values=packing, rows=RowLengths(4096, None, 1000)))
    assert plan.candidate.rows_per_update is None
    assert plan.steps is None
    assert any("--mean-row" in note for note in plan.notes)


def test_exact_leaves_the_rows_of_an_update_as_they_are():
    plan = make_plan(request(rows=ALPACA, speed="exact"))
    assert not {"packing", "neat_packing", SAMPLING_KEY} & set(plan.candidate.changes)


def test_off_changes_nothing():
    plan = make_plan(request(rows=RowLengths(512), speed="none"))
    assert plan.candidate.changes == {}
    assert plan.overrides == ()
    assert plan.candidate.batch == BatchPlan(16, 8, 1)


@pytest.mark.parametrize("key", [LIGER_KEY, NO_CHECKPOINTING_KEY])
def test_what_the_person_set_stays(key):
    plan = make_plan(request(pinned=frozenset({*VALUES, key}), values={key: False}))
    assert key not in plan.candidate.changes


def test_the_recipes_micro_batch_is_the_most_and_the_command_lines_is_fixed():
    pinned = frozenset({*VALUES, MICRO_KEY})
    assert make_plan(request(pinned=pinned, micro_limit=2, rows=ALPACA, speed="exact")).candidate.batch.micro_batch <= 2
    fixed = request(pinned=pinned, batch=BatchPlan(4, 32, 1), speed="exact")
    assert make_plan(fixed).candidate.batch == BatchPlan(4, 32, 1)


@pytest.mark.parametrize("hardware", ["cpu", "m2-max-96gb"])
def test_no_liger_without_its_gpus(hardware):
    plan = make_plan(request(hardware, model="smollm2-135m", values={"bf16": False}, rows=RowLengths(512)))
    assert LIGER_KEY not in plan.candidate.changes


def test_a_gpu_in_use_counts_only_what_is_free():
    idle = load_hardware("h100-80gb")
    busy = dataclasses.replace(idle, gpus=(dataclasses.replace(idle.gpus[0], free_bytes=30 * GIB),))
    assert device_limit_bytes(busy) < 30 * GIB < device_limit_bytes(idle)
    plan = make_plan(dataclasses.replace(request(), hardware=busy))
    assert plan.candidate.memory.device_bytes < 30 * GIB


@pytest.mark.parametrize(
    ("changes", "suggestion"),
    [
        ({"hardware": "t4"}, "quantization_bit=4 cutoff_len="),
        ({"hardware": "rtx-4060-ti-16gb"}, "quantization_bit=4"),
        ({"hardware": "h100-80gb", "values": {"finetuning_type": "full"}}, "finetuning_type=lora"),
        ({"hardware": "h100-80gb", "model": "qwen2.5-72b"}, "quantization_bit=4"),
        ({"hardware": "h100-80gb", "speed": "none", "batch": BatchPlan(128, 1, 1)}, "left open"),
    ],
)
def test_when_nothing_fits_the_nearest_that_does_is_named(changes, suggestion):
    with pytest.raises(PlanError, match="does not fit") as caught:
        make_plan(request(**changes))
    assert suggestion in caught.value.hint
    assert caught.value.exit_code == 5


def test_a_model_that_fits_nowhere_near():
    with pytest.raises(PlanError) as caught:
        make_plan(request("rtx-2080-ti", model="qwen3-235b-a22b"))
    assert "smaller model" in caught.value.hint


def test_a_prediction_takes_the_recipe_as_it_is():
    plan = predict_plan(request("rtx-4090"))
    assert plan.candidate.changes == {}
    assert plan.candidate.batch == BatchPlan(16, 8, 1)
    assert not plan.fits


def test_steps_and_time():
    plan = make_plan(request(rows=ALPACA, speed="exact"))
    assert plan.steps == -(-52_000 // 128)
    assert plan.duration_s == pytest.approx(plan.steps * plan.candidate.speed.step_s)
    assert make_plan(request(values={"max_steps": 7})).steps == 7
    assert make_plan(request()).steps is None


def test_disk_holds_weights_and_states():
    plan = make_plan(request())
    numbers = plan.candidate.settings.adapter_parameters(catalog_model("qwen2.5-7b"))
    assert plan.checkpoint_bytes == 12 * numbers
    assert plan.disk_bytes == 4 * plan.checkpoint_bytes


def test_what_was_rejected_is_said_with_figures():
    plan = make_plan(request())
    assert any("needs" in each.why for each in plan.rejected)
    assert any("tokens/s against" in each.why for each in plan.rejected)


def test_unsloth_is_not_modelled_and_dropout_turns_it_off():
    notes = " ".join(make_plan(request(values={"use_unsloth": True})).notes)
    assert "not modelled" in notes
    assert "lora_dropout" in notes


def test_json_has_the_agreed_keys():
    value = json.loads(json.dumps(make_plan(request("2x-h200")).to_json()))
    assert value["memory"]["terms"][0]["bytes"] > 0
    assert value["memory"]["peak_allocated_bytes"] < value["memory"]["device_bytes"] <= value["memory"]["limit_bytes"]
    assert value["speed"]["tokens_per_s"] > 0
    assert value["speed"]["step_s"] > 0
    product = value["per_device_train_batch_size"] * value["gradient_accumulation_steps"] * value["world_size"]
    assert product == 128


@pytest.mark.parametrize(
    ("hardware", "model", "stage"),
    [("2x-h200", "llama-3.2-3b", None), ("4x-h100-80gb", "qwen2.5-7b", 2), ("2x-h100-80gb", "qwen2.5-7b", 3)],
)
def test_gpus_share_only_what_does_not_fit_otherwise(hardware, model, stage):
    values = {"finetuning_type": "full"}
    asked = request(hardware, model=model, values=values, rows=RowLengths(1024), open_stages=(2, 3))
    chosen = make_plan(asked).candidate
    assert chosen.settings.zero_stage == stage
    assert (STAGE_KEY in chosen.changes) == (stage is not None)
    if stage == 3:
        assert "lfwrap.zero_stage=3" in make_plan(asked).overrides
        with pytest.raises(PlanError) as caught:
            make_plan(dataclasses.replace(asked, open_stages=()))
        assert "lfwrap.zero_stage=3" in caught.value.hint


def test_zero_3_is_no_way_to_train_an_adapter_of_what_does_not_fit_a_gpu():
    """Frozen layers stay gathered in the backward pass: measured on two H200s."""
    with pytest.raises(PlanError):
        make_plan(request("8x-h100-80gb", model="qwen2.5-72b", open_stages=(2, 3), rows=RowLengths(1024)))


def test_layer_inputs_wait_in_main_memory_where_that_alone_fits():
    values = {"cutoff_len": 12288, "lora_rank": 8}
    plan = make_plan(request("rtx-3090", rows=RowLengths(12288), values=values, batch=BatchPlan(1, 128, 1)))
    assert OFFLOADED_CHECKPOINTS_KEY in plan.candidate.changes
    assert "use_unsloth_gc=true" in plan.overrides


def test_with_the_extension_there_is_no_padding_and_less_is_kept():
    auto = make_plan(request(rows=ALPACA)).candidate
    extended = make_plan(request(rows=ALPACA, speed="max")).candidate
    assert extended.speed.tokens_per_s > auto.speed.tokens_per_s
    values = {"disable_gradient_checkpointing": True, "enable_liger_kernel": True, "lora_dropout": 0.1}
    fixed = [predict_plan(request(rows=ALPACA, speed=speed, values=values)).candidate for speed in ("auto", "max")]
    assert fixed[1].memory.peak_allocated_bytes < fixed[0].memory.peak_allocated_bytes
    assert "attention mask" not in {term.name for term in fixed[1].memory.terms}
    assert fixed[1].speed.tokens_per_s == pytest.approx(fixed[1].speed.padded_tokens_per_s)


def test_where_the_extension_does_not_know_its_way_plans_are_as_without_it():
    plans = [predict_plan(request("rtx-4090", model="gemma-2-2b", speed=speed)).candidate for speed in ("auto", "max")]
    assert not plans[1].settings.is_padding_free
    on_a_cpu = predict_plan(request("cpu", speed="max")).candidate
    assert not on_a_cpu.settings.is_extended


EVALUATED = {"val_size": 0.1, "eval_strategy": "steps"}


def test_evaluation_takes_fewer_rows_at_a_time_where_its_logits_would_not_fit():
    rows = RowLengths(2048, 600.0)
    plan = make_plan(request("rtx-4090", model="llama-3.2-3b", rows=rows, values=EVALUATED))
    size = plan.candidate.changes[EVAL_BATCH_KEY][0]
    assert size < 8
    assert plan.candidate.memory.phases["evaluation"] < plan.candidate.memory.device_bytes <= plan.candidate.limit_bytes
    roomy = make_plan(request("h200", rows=rows, values=EVALUATED))
    assert EVAL_BATCH_KEY not in roomy.candidate.changes
    own = make_plan(request("h200", rows=rows, values={**EVALUATED, EVAL_BATCH_KEY: 2}))
    assert own.candidate.settings.eval_batch == 2


@pytest.mark.parametrize("values", [{}, {"val_size": 0.1}, {"eval_strategy": "epoch"}])
def test_what_is_not_evaluated_takes_nothing(values):
    assert "evaluation" not in make_plan(request(values=values)).candidate.memory.phases
