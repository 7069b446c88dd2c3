"""The effective batch is exact, or refused with exact neighbours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import PlanError
from lfwrap.plan.inputs.batch import largest_divisor, nearest_batches, solve_batch

sizes = st.integers(1, 2048)
worlds = st.integers(1, 64)
limits = st.integers(1, 64)
optional = st.none() | st.integers(1, 64)


@given(effective=sizes, world=worlds, micro=optional, accumulation=optional, limit=limits)
def test_always_exact_or_refused(effective, world, micro, accumulation, limit):
    try:
        plan = solve_batch(effective, world, micro, accumulation, limit)
    except PlanError as error:
        refused = error
        assert str(effective) in refused.message
        assert "Nearest" in refused.hint
    else:
        assert plan.effective == effective == plan.micro_batch * plan.accumulation * plan.world_size
        assert plan.world_size == world
        assert micro is None or plan.micro_batch == micro
        assert accumulation is None or plan.accumulation == accumulation
        assert micro is not None or plan.micro_batch <= limit


@given(per_process=sizes, world=worlds, limit=limits)
def test_every_multiple_of_the_processes_has_a_plan(per_process, world, limit):
    assert solve_batch(per_process * world, world, max_micro_batch=limit).effective == per_process * world


@given(effective=sizes, world=worlds, micro=optional, accumulation=optional, limit=limits)
def test_neighbours_can_be_made(effective, world, micro, accumulation, limit):
    for near in nearest_batches(effective, world, micro, accumulation, limit):
        assert solve_batch(near.effective, world, micro, accumulation, limit).effective == near.effective


@given(effective=sizes, world=worlds, micro=optional, limit=limits)
def test_nothing_exact_lies_nearer_than_the_neighbours(effective, world, micro, limit):
    unit = world * (micro or 1)
    products = [near.effective for near in nearest_batches(effective, world, micro, None, limit)]
    nearest = min(abs(product - effective) for product in products)
    reachable = [unit * factor for factor in range(1, effective // unit + 3)]
    assert nearest == min(abs(product - effective) for product in reachable)


@given(effective=sizes, world=worlds, limit=limits)
def test_more_room_never_means_more_accumulation(effective, world, limit):
    total = effective * world
    smaller = solve_batch(total, world, max_micro_batch=limit)
    larger = solve_batch(total, world, max_micro_batch=limit + 1)
    assert larger.accumulation <= smaller.accumulation


@given(number=sizes, limit=limits)
def test_largest_divisor(number, limit):
    divisor = largest_divisor(number, limit)
    assert number % divisor == 0
    assert divisor <= limit
    assert all(number % other for other in range(divisor + 1, min(limit, number) + 1))


@pytest.mark.parametrize(
    ("world", "expected"), [(1, (16, 8)), (2, (16, 4)), (4, (16, 2)), (8, (16, 1)), (16, (8, 1)), (128, (1, 1))]
)
def test_the_papers_batch(world, expected):
    plan = solve_batch(128, world)
    assert (plan.micro_batch, plan.accumulation) == expected


@pytest.mark.parametrize(
    ("arguments", "products"),
    [
        ((128, 3), ("126 (14 × 3 × 3)", "129 (1 × 43 × 3)")),
        ((128, 1, 12), ("120 (12 × 10 × 1)", "132 (12 × 11 × 1)")),
        ((128, 2, 16, 8), ("256 (16 × 8 × 2)",)),
        ((4, 8), ("8 (1 × 1 × 8)",)),
        ((512, 1, None, 8), ("128 (16 × 8 × 1)",)),
    ],
)
def test_refusals_name_the_nearest_products(arguments, products):
    with pytest.raises(PlanError) as caught:
        solve_batch(*arguments)
    for product in products:
        assert product in caught.value.hint


def test_zero_is_refused():
    with pytest.raises(PlanError, match="at least 1"):
        solve_batch(0, 1)
