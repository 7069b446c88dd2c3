"""Ways of running a recipe that are worth a trial on the machine, and the plan of one that won."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import UsageError
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.plan import make_plan, plan_candidate, predict_plan, rank_plans
from lfwrap.plan.request import ACCUMULATION_KEY, MICRO_KEY, PlanRequest, Setting
from lfwrap.recipe.inputs.row_lengths import measure_rows
from lfwrap.recipe.recipe import Recipe
from lfwrap.strategy.planning import Machine, Planned, plan_request, plan_values, render_for_plan

FREE = frozenset({"auto", "max"})
"""What ``lfwrap.speed`` has to say for there to be anything to choose."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way of running a recipe.

    Attributes:
        planned: the plan and what it sets.
        extended: with lfwrap's extension of the engine.
    """

    planned: Planned
    extended: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """Engine key → value, as the plan sets them."""
        return {key: value for key, (value, _) in self.planned.values.items()}


def find_ways(recipe: Recipe, facts: EngineFacts, machine: Machine, count: int) -> list[Way]:
    """The ways that promise most, ``speed: auto``'s own choice first; with the extension where the recipe says max.

    Raises:
        UsageError: the recipe leaves nothing to choose.
        PreflightError: nothing can be planned, as the model's shapes are unknown.
        PlanError: nothing fits.
    """
    speed = recipe.intent.speed
    if not recipe.has_intent or speed not in FREE:
        raise UsageError(
            f"{recipe.path}: lfwrap.speed is {speed if recipe.has_intent else 'none'}: there is nothing to choose.",
            hint="Write speed: auto (or max) into its lfwrap: block, or add lfwrap.speed=auto here and to `train`.",
        )
    asked = _ask(recipe, facts, machine)
    auto = dataclasses.replace(asked, speed="auto")
    if speed == "auto":
        return [*_ways(auto, count)] or [_only_way(auto)]
    own = [*_ways(auto, 1)] or [_only_way(auto)]
    extended = [dataclasses.replace(way, extended=True) for way in _ways(asked, count - 1)]
    return [*own, *(extended or [dataclasses.replace(own[0], extended=True)])]


def follow_values(
    recipe: Recipe, facts: EngineFacts, machine: Machine, values: Mapping[str, Any], reason: str
) -> Planned:
    """The plan of a recipe whose ways were measured.

    Args:
        recipe: the recipe.
        facts: the engine's keys.
        machine: where it shall run.
        values: engine key → value: the way to take, micro-batch and accumulation included.
        reason: why, for each of them.

    Raises:
        PreflightError: nothing can be planned, as the model's shapes are unknown.
    """
    request = _ask(recipe, facts, machine)
    batch = BatchPlan(int(values[MICRO_KEY]), int(values[ACCUMULATION_KEY]), request.world_size)
    changes = {key: Setting(value, reason) for key, value in values.items() if key not in {MICRO_KEY, ACCUMULATION_KEY}}
    plan = plan_candidate(request, changes, batch)
    sets = {
        **changes,
        MICRO_KEY: Setting(batch.micro_batch, reason),
        ACCUMULATION_KEY: Setting(batch.accumulation, reason),
    }
    return Planned(plan, sets, plan.notes)


def _ask(recipe: Recipe, facts: EngineFacts, machine: Machine) -> PlanRequest:
    rendered = render_for_plan(recipe, facts, machine)
    rows = measure_rows(recipe, machine.dataset_dir, str(rendered.engine.get("template", "")))
    return plan_request(recipe, rendered, machine, rows)


def _ways(request: PlanRequest, count: int) -> list[Way]:
    return [Way(Planned(plan, plan_values(plan), plan.notes)) for plan in rank_plans(request, count)]


def _only_way(request: PlanRequest) -> Way:
    """What is left where nothing fits: on a machine without a GPU, the recipe as it stands.

    Raises:
        PlanError: on a GPU.
    """
    plan = make_plan(request) if request.hardware.gpus else predict_plan(request)
    return Way(Planned(plan, plan_values(plan), plan.notes))
