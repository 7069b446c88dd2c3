"""One's own measurements: what they change in a plan, and what they leave alone."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.hardware.load import load_hardware
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.memory.peak import CONTEXT_TERM, SLACK_TERM, estimate_memory
from lfwrap.plan.speed.calibration import Measurement, correct_memory, correct_speed, kind_key, model_key
from lfwrap.plan.speed.throughput import estimate_speed

MODEL = catalog_model("qwen2.5-0.5b")
SETTINGS = TrainSettings("lora", 4, 1024, rank=16, liger=True)
MEMORY = estimate_memory(MODEL, SETTINGS)
SPEED = estimate_speed(MODEL, SETTINGS, load_hardware("h100-80gb").smallest_gpu)


def measured(peak_ratio=1.04, pace=2.0, **changes):
    made = Measurement(
        device="a GPU",
        versions="1",
        model=model_key(MODEL),
        kind=kind_key(SETTINGS),
        predicted_peak_bytes=1_000_000_000,
        peak_allocated_bytes=int(1_000_000_000 * peak_ratio),
        peak_reserved_bytes=int(1_000_000_000 * peak_ratio) + 5_000_000_000,
        outside_bytes=1_234_000_000,
        predicted_update_s=1.0,
        update_s=pace,
        run="mine",
    )
    return dataclasses.replace(made, **changes)


def term(memory, name):
    return next(each.bytes for each in memory.terms if each.name == name)


def test_without_measurements_nothing_changes():
    assert correct_memory(MEMORY, (), MODEL, SETTINGS) == MEMORY
    assert correct_speed(SPEED, (), MODEL, SETTINGS) == SPEED


def test_the_same_model_and_kernels_are_corrected_in_full():
    found = correct_memory(MEMORY, (measured(),), MODEL, SETTINGS)
    assert found.peak_allocated_bytes == pytest.approx(MEMORY.peak_allocated_bytes * 1.04, rel=1e-6)
    assert term(found, CONTEXT_TERM) == 1_234_000_000
    assert term(found, SLACK_TERM) == 5_000_000_000
    assert all(each.source for each in found.terms)


def test_sizes_do_not_matter_kernels_and_shapes_do():
    larger = dataclasses.replace(SETTINGS, micro_batch=16, seq_len_tokens=4096, rank=64)
    assert kind_key(larger) == kind_key(SETTINGS)
    other = dataclasses.replace(SETTINGS, checkpointing=False)
    assert correct_memory(MEMORY, (measured(),), MODEL, other).peak_allocated_bytes == MEMORY.peak_allocated_bytes
    llama = catalog_model("llama-3.2-3b")
    found = correct_memory(MEMORY, (measured(),), llama, SETTINGS)
    assert found.peak_allocated_bytes == MEMORY.peak_allocated_bytes
    assert term(found, CONTEXT_TERM) == 1_234_000_000  # that is the machine's


def test_a_wild_measurement_is_no_correction():
    found = correct_memory(MEMORY, (measured(peak_ratio=3.0),), MODEL, SETTINGS)
    assert found.peak_allocated_bytes == MEMORY.peak_allocated_bytes


def test_the_last_run_counts_and_the_pace_of_others_where_none_is_alike():
    runs = (measured(pace=2.0, run="a"), measured(pace=3.0, run="b"))
    assert correct_speed(SPEED, runs, MODEL, SETTINGS).step_s == pytest.approx(3 * SPEED.step_s)
    other = dataclasses.replace(SETTINGS, liger=False)
    found = correct_speed(SPEED, runs, MODEL, other)
    assert found.tokens_per_s == pytest.approx(SPEED.tokens_per_s / 2.5)
    assert "2 of your own runs" in found.basis
    assert correct_speed(None, runs, MODEL, SETTINGS) is None
    assert correct_speed(SPEED, (measured(pace=None),), MODEL, SETTINGS) == SPEED
