"""The ways that a measurement is worth: the plan's own first, and not the same way over and over."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.engine.keys import CUTOFF_KEY
from lfwrap.hardware.load import load_hardware
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.plan import make_plan, plan_candidate, rank_plans
from lfwrap.plan.request import PlanRequest


def asked(**changes):
    base = PlanRequest(
        model=catalog_model("qwen2.5-7b"),
        values={"finetuning_type": "lora", "lora_rank": 64, "lora_target": "all", "cutoff_len": 4096, "bf16": True},
        hardware=load_hardware("h100-80gb"),
        world_size=1,
        rows=RowLengths(700, 170.0, 52_000),
        batch=BatchPlan(16, 8, 1),
        effective_batch=128,
        speed="auto",
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize("speed", ["exact", "auto", "max"])
def test_the_first_is_the_plans_own(speed):
    request = asked(speed=speed)
    best, first = make_plan(request).candidate, rank_plans(request, 6)[0].candidate
    assert (best.changes, best.batch) == (first.changes, first.batch)


def test_they_fit_they_differ_and_no_kind_comes_more_than_twice():
    plans = rank_plans(asked(), 6)
    assert len(plans) == 6
    assert all(plan.fits for plan in plans)
    kinds = [frozenset(plan.candidate.changes) - {CUTOFF_KEY} for plan in plans]
    assert max(kinds.count(kind) for kind in kinds) == 2
    ways = {(plan.candidate.batch, *sorted((key, value) for key, (value, _) in plan.candidate.changes.items()))
            for plan in plans}  # fmt: skip
    assert len(ways) == 6


def test_nothing_fits_a_small_gpu():
    assert rank_plans(asked(hardware=load_hardware("rtx-4060-ti-16gb")), 6) == []


def test_a_given_way_is_planned_whether_it_fits_or_not():
    request = asked(hardware=load_hardware("rtx-4060-ti-16gb"))
    plan = plan_candidate(request, {"enable_liger_kernel": (True, "measured")}, BatchPlan(32, 4, 1))
    assert not plan.fits
    assert plan.candidate.batch.micro_batch == 32
    assert plan.candidate.settings.liger
