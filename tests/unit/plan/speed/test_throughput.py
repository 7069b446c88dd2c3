"""Time of a step: against what was measured, and in which direction things push it."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
from pathlib import Path

import pytest

from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import Gpu
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.speed.throughput import estimate_speed, micro_step_s

CHECK = Path(__file__).resolve().parents[4] / "benchmarks" / "memory" / "check.py"
H100 = load_hardware("h100-80gb").smallest_gpu
QWEN_7B = catalog_model("qwen2.5-7b")
LONG = TrainSettings("lora", 4, 4096, accumulation=4, rank=64, liger=True)


def load_check():
    spec = importlib.util.spec_from_file_location("speed_check", CHECK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_check()


@pytest.mark.parametrize("half", ["calibration", "held-out"])
def test_all_that_was_measured_is_within_a_quarter(half):
    rows = [check.compare(record) for record in check.load_records(half)]
    errors = {row["id"]: abs(row["step_predicted"] / row["step_measured"] - 1) for row in rows}
    assert len(errors) >= 36
    assert {case: error for case, error in errors.items() if error > 0.25} == {}
    assert statistics.median(errors.values()) < 0.08


@pytest.mark.parametrize(
    ("changes", "tokens_per_s"),
    [
        ({"dropout": 0.1}, 8192),
        ({"micro_batch": 1, "checkpointing": False, "dropout": 0.1}, 10082),
        ({"micro_batch": 1, "checkpointing": False, "liger": False, "dropout": 0.1}, 9362),
    ],
)
def test_rates_of_another_day_and_host(changes, tokens_per_s):
    speed = estimate_speed(QWEN_7B, dataclasses.replace(LONG, **changes), H100)
    assert speed.tokens_per_s == pytest.approx(tokens_per_s, rel=0.25)


@pytest.mark.parametrize(
    "slower",
    [
        {"checkpointing": True},
        {"liger": False},
        {"quantization_bit": 8},
        {"rank": 256},
        {"seq_len_tokens": 8192},
        {"packing": True},
    ],
)
def test_what_takes_longer(slower):
    base = dataclasses.replace(LONG, checkpointing=False)
    assert micro_step_s(QWEN_7B, dataclasses.replace(base, **slower), H100) > micro_step_s(QWEN_7B, base, H100)


@pytest.mark.parametrize(("half", "count"), [("third calibration", 7), ("third held-out", 6)])
def test_so_is_the_third_round(half, count):
    rows = [check.compare(record) for record in check.load_records(half)]
    assert len(rows) == count
    assert {row["id"] for row in rows if abs(row["step_predicted"] / row["step_measured"] - 1) > 0.25} == set()
    assert {row["id"] for row in rows if abs(row["error"]) > 0.05} == set()


def test_the_third_rounds_halves_share_no_case():
    halves = [{record["id"] for record in check.load_records(half)} for half in check.LATER_HALVES]
    assert halves[0].isdisjoint(halves[1])
    assert halves[0] | halves[1] == {record["id"] for record in check.load_records("blind")}


def test_masks_of_packs_are_made_by_the_training_process_or_by_others_meanwhile():
    packed = dataclasses.replace(LONG, packing=True, checkpointing=False)
    alone = micro_step_s(QWEN_7B, packed, H100)
    assert alone - micro_step_s(QWEN_7B, dataclasses.replace(packed, loader_workers=4), H100) > 4 * 4096**2 * 1e-9
    free = dataclasses.replace(packed, is_padding_free=True, attended_tokens=300)
    assert micro_step_s(QWEN_7B, free, H100) < alone - 4 * 4096**2 * 1e-9


def test_slow_loading_holds_up_a_training_however_many_make_batches():
    many = dataclasses.replace(LONG, micro_batch=1, seq_len_tokens=32768, packing=True, loader_workers=1)
    tiny = dataclasses.replace(catalog_model("qwen2.5-0.5b"), num_layers=1)
    two = dataclasses.replace(many, loader_workers=2)
    assert micro_step_s(tiny, many, H100) == pytest.approx(2 * micro_step_s(tiny, two, H100))


def test_small_work_is_bound_by_launching():
    one, two = (dataclasses.replace(LONG, micro_batch=size, seq_len_tokens=16) for size in (1, 2))
    assert micro_step_s(QWEN_7B, two, H100) < 1.05 * micro_step_s(QWEN_7B, one, H100)


def test_an_update_adds_up_and_padding_is_no_progress():
    speed = estimate_speed(QWEN_7B, LONG, H100, real_share=0.5)
    assert speed.step_s > 4 * speed.micro_step_s
    assert speed.tokens_per_s == pytest.approx(speed.padded_tokens_per_s / 2)
    assert speed.padded_tokens_per_s == pytest.approx(4 * 4 * 4096 / speed.step_s)


def test_zero_3_travels_and_slow_links_cost():
    def step(**changes):
        settings = dataclasses.replace(LONG, world_size=2, **changes)
        return estimate_speed(QWEN_7B, settings, H100, interconnect=link).step_s

    link = "nvlink"
    plain, sharded = step(), step(zero_stage=3)
    link = "pcie"
    assert plain < sharded < step(zero_stage=3)


@pytest.mark.parametrize("gpu", [None, Gpu("unknown", 1), Gpu("no bandwidth", 1, bf16_flops=1e12)])
def test_no_rates_no_estimate(gpu):
    assert estimate_speed(QWEN_7B, LONG, gpu) is None


def test_other_gpus_are_scaled_and_that_is_said():
    t4 = estimate_speed(QWEN_7B, LONG, load_hardware("t4").smallest_gpu)
    assert "not measured" in t4.basis
    assert t4.tokens_per_s < estimate_speed(QWEN_7B, LONG, H100).tokens_per_s / 5
    assert "not measured" not in estimate_speed(QWEN_7B, LONG, H100).basis
