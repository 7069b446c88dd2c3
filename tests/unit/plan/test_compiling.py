"""Compiled layers: chosen where they pay, and what they take, against what was measured."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.engine.keys import COMPILE_KEY
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import DeviceKind
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.candidate import COMPILE_S, evaluate
from lfwrap.plan.compiling import gains_by_compiling, why_left_to_trainer
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.memory.peak import estimate_memory
from lfwrap.plan.plan import make_plan, plan_candidate
from lfwrap.plan.request import STAGE_KEY, PlanRequest
from lfwrap.plan.search import find_candidates
from lfwrap.plan.speed.throughput import estimate_speed
from lfwrap.units import GIB

VALUES = {
    "finetuning_type": "lora", "lora_rank": 64, "lora_dropout": 0.1, "lora_target": "all", "cutoff_len": 4096,
    "bf16": True, "num_train_epochs": 1.0,
}  # fmt: skip
FULL = RowLengths(4096, 4096.0, 20_000, (4096,) * 1000)
H200 = load_hardware("h200").smallest_gpu


def request(rows=FULL, **changes):
    machine = load_hardware(changes.pop("hardware", "h100-80gb"))
    base = PlanRequest(
        model=catalog_model(changes.pop("model", "qwen2.5-7b")),
        values={**VALUES, **changes.pop("values", {})},
        hardware=machine,
        world_size=machine.world_size,
        rows=rows,
        batch=BatchPlan(16, 8 // machine.world_size, machine.world_size),
        effective_batch=128,
        speed="auto",
        pinned=frozenset(VALUES),
    )
    return dataclasses.replace(base, **changes)


def is_compiled(asked):
    return COMPILE_KEY in make_plan(asked).candidate.changes


def test_a_long_training_compiles_and_a_short_one_does_not():
    assert is_compiled(request())
    assert not is_compiled(request(values={"max_steps": 1}))
    assert not is_compiled(request(rows=RowLengths(4096, 4096.0, 100, (4096,) * 100)))


def test_the_time_of_compiling_counts():
    plan = make_plan(request())
    assert plan.duration_s == pytest.approx(COMPILE_S + plan.steps * plan.candidate.speed.step_s)
    plain = plan_candidate(request(), {}, BatchPlan(1, 128, 1))
    assert plain.duration_s == pytest.approx(plain.steps * plain.candidate.speed.step_s)


def test_a_faster_way_that_was_not_taken_says_what_compiling_takes():
    plan = make_plan(request(rows=RowLengths(4096, 4096.0, 100, (4096,) * 100)))
    compiled = [each.why for each in plan.rejected if "compiled layers" in each.settings]
    assert compiled
    assert all("; compiling included, " in why for why in compiled)
    assert not any("compiling" in each.why for each in make_plan(request()).rejected)


@pytest.mark.parametrize(
    "changes",
    [
        {"speed": "exact"},
        {"speed": "max"},  # the compiler can't look into the extension
        {"speed": "none"},
        {"pinned": frozenset({*VALUES, COMPILE_KEY})},
        {"hardware": "v100-16gb", "model": "qwen2.5-0.5b"},
        {"hardware": "cpu"},
        {"hardware": "2x-h200", "zero_stage": 3},
        {"values": {"quantization_bit": 8}},
        {"values": {"use_dora": True}},
        {"values": {"finetuning_type": "full"}, "hardware": "h200", "model": "qwen2.5-0.5b"},
        {"values": {"pure_bf16": True, "bf16": False}},
        {"model": "gemma-2-9b", "hardware": "h200"},
        {"rows": RowLengths(4096)},  # of unknown length
        {"values": {"torch_compile_mode": "max-autotune"}},
        {"values": {"fsdp": "full_shard"}},
        {"values": {"deepspeed": "own.json"}},  # of whatever stage
    ],
)
def test_what_was_not_measured_is_not_compiled(changes):
    asked = request(**changes)
    assert not any(COMPILE_KEY in candidate.changes for candidate in find_candidates(asked))


def test_only_micro_batches_of_one_shape_are_compiled():
    lengths = tuple(200 + 8 * (number % 300) for number in range(1000))
    mixed = RowLengths(max(lengths), sum(lengths) / len(lengths), 50_000, lengths)
    compiled = [candidate for candidate in find_candidates(request(mixed)) if COMPILE_KEY in candidate.changes]
    assert compiled
    assert all(candidate.settings.packing for candidate in compiled)
    unpacked = request(mixed, pinned=frozenset({*VALUES, "packing"}))
    assert not any(COMPILE_KEY in candidate.changes for candidate in find_candidates(unpacked))


@pytest.mark.parametrize(("stage", "expected"), [(2, True), (3, False)])
def test_weights_that_the_plan_itself_splits_are_not_compiled(stage, expected):
    asked = request(hardware="2x-h200")
    way = evaluate(asked, {STAGE_KEY: (stage, "")}, BatchPlan(1, 64, 2))
    assert way.fits
    assert gains_by_compiling(asked, way) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["Layers are compiled in the first update, which takes about 20 s more"]),
        ({"values": {"max_steps": 1}}, []),
        ({"speed": "exact", "values": {COMPILE_KEY: True}}, ["Layers are compiled in the first update"]),
        (
            {"speed": "exact", "values": {COMPILE_KEY: True}, "rows": RowLengths(4096, 500.0, 100)},
            ["Layers are compiled in the first update", "Rows differ in length"],
        ),
        (
            {"values": {COMPILE_KEY: True}, "zero_stage": 3, "hardware": "2x-h200"},
            ["Compiling is left to the trainer (ZeRO-3)"],
        ),
        (
            {"values": {"torch_compile_mode": "default"}},
            ["Compiling is left to the trainer (torch_compile_mode)"],
        ),
    ],
)
def test_what_is_said_of_it(changes, expected):
    said = [note for note in make_plan(request(**changes)).notes if "ompile" in note]
    assert len(said) == len(expected)
    assert all(note.startswith(start) for note, start in zip(said, expected, strict=True))


@pytest.mark.parametrize(
    ("values", "zero_stage", "expected"),
    [
        ({}, None, ""),
        ({"deepspeed": "runs/r/deepspeed.json"}, 2, ""),
        ({"deepspeed": "runs/r/deepspeed.json"}, 3, "ZeRO-3"),
        ({"deepspeed": "own.json"}, None, "deepspeed"),
        ({"fsdp": "full_shard"}, None, "fsdp"),
        ({"torch_compile_backend": "eager"}, 0, "torch_compile_backend"),
    ],
)
def test_what_the_trainer_compiles_itself(values, zero_stage, expected):
    assert why_left_to_trainer(values, zero_stage) == expected


# One H200 of a host with four, torch 2.11: micro-batch, tokens, accumulation, more; s an update; GiB allocated.
MEASURED = [
    ("qwen2.5-7b", 1, 4096, 4, {}, 1.12, 41.9),
    ("qwen2.5-7b", 2, 4096, 2, {}, 1.05, 66.9),
    ("qwen2.5-7b", 1, 4096, 4, {"liger": False}, 1.16, 48.3),
    ("qwen2.5-7b", 2, 4096, 2, {"liger": False}, 1.072, 79.7),
    ("qwen2.5-7b", 4, 4096, 1, {"checkpointing": True}, 1.47, 25.0),
    ("qwen2.5-7b", 8, 840, 4, {"packing": True}, 1.735, 63.1),
    ("qwen2.5-7b", 8, 1120, 3, {"packing": True, "quantization_bit": 4}, 1.82, 65.5),
    ("qwen2.5-0.5b", 32, 840, 1, {"packing": True}, 0.235, 39.6),
    ("qwen2.5-7b", 2, 4096, 11, {"packing": True}, 6.73, 70.2),
]


@pytest.mark.parametrize(("model", "micro", "tokens", "accumulation", "more", "update_s", "peak_gib"), MEASURED)
def test_memory_and_time_are_near_what_was_measured(  # noqa: PLR0917
    model, micro, tokens, accumulation, more, update_s, peak_gib
):
    given = {"liger": True, "checkpointing": False, "rank": 64, "dropout": 0.1, "loader_workers": 2, **more}
    settings = TrainSettings("lora", micro, tokens, accumulation=accumulation, is_compiled=True, **given)
    memory = estimate_memory(catalog_model(model), settings, DeviceKind.CUDA)
    assert memory.peak_allocated_bytes / GIB == pytest.approx(peak_gib, rel=0.05)
    assert estimate_speed(catalog_model(model), settings, H200).step_s == pytest.approx(update_s, rel=0.1)
