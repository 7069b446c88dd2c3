"""How many packs an update takes: its rows stay what the recipe says, within 2%."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.engine.keys import CUTOFF_KEY
from lfwrap.hardware.load import load_hardware
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.packing import PACKED_ROWS_TOLERANCE, pack_capacities, packs_per_update, request_packs
from lfwrap.plan.request import PlanRequest

MODEL = catalog_model("qwen2.5-0.5b")


def rows_of(lengths):
    return RowLengths(max(lengths), sum(lengths) / len(lengths), len(lengths), tuple(lengths))


ALPACA = rows_of([min(700, max(30, int(random.Random(n).expovariate(1 / 170)))) for n in range(999)])  # noqa: S311


def request(rows=ALPACA, machine="h100-80gb", effective=128, cutoff=4096, **changes):
    hardware = load_hardware(machine)
    processes = hardware.world_size
    values = {CUTOFF_KEY: cutoff, **changes.pop("values", {})}
    batch = BatchPlan(1, effective // processes, processes)
    made = PlanRequest(MODEL, values, hardware, processes, rows, batch, effective_batch=effective, speed="auto")
    return dataclasses.replace(made, **changes)


def test_an_update_keeps_its_rows():
    asked = request()
    counts = {capacity: packs_per_update(asked, capacity) for capacity in pack_capacities(asked)}
    found = {capacity: count for capacity, count in counts.items() if count}
    assert len(found) >= 5
    for capacity, count in found.items():
        rows = count * request_packs(asked, capacity).rows_per_pack
        assert abs(rows / 128 - 1) <= PACKED_ROWS_TOLERANCE
        assert math.ceil(999 / rows) == math.ceil(999 / 128)


def test_a_pack_of_more_rows_than_an_update_is_no_way():
    assert packs_per_update(request(effective=4), 4096) is None


def test_every_row_fits_every_pack():
    assert min(pack_capacities(request())) >= ALPACA.longest_tokens


@pytest.mark.parametrize(
    "changes",
    [
        {"locked": frozenset({CUTOFF_KEY})},
        {"pinned": frozenset({"eval_dataset"})},
        {"rows": RowLengths(700, 170.0, 999)},
        {"rows": rows_of([4000, 100, 100])},
    ],
)
def test_packs_are_as_long_as_the_cutoff_where_nothing_else_is_safe(changes):
    assert pack_capacities(request(**changes)) == [4096]


def test_preprocessing_workers_pack_their_own_rows():
    alone = request_packs(request(), 4096)
    apart = request_packs(request(values={"preprocessing_num_workers": 16}), 4096)
    assert apart.rows_per_pack < alone.rows_per_pack


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(10, 900), min_size=40, max_size=200),
    effective=st.sampled_from([8, 16, 64, 128, 256]),
    machine=st.sampled_from(["h100-80gb", "2x-h200", "8x-h100-80gb"]),
)
def test_no_number_of_packs_is_off_by_more_than_two_percent(lengths, effective, machine):
    asked = request(rows_of(lengths), machine, effective)
    for capacity in pack_capacities(asked):
        count = packs_per_update(asked, capacity)
        if count is not None:
            assert count % asked.world_size == 0
            assert abs(count * request_packs(asked, capacity).rows_per_pack / effective - 1) <= 0.02
