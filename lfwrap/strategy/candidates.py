"""The strategies of a recipe that are worth a trial on the machine."""

from __future__ import annotations

import dataclasses

from lfwrap.errors import UsageError
from lfwrap.plan.plan import make_plan, predict_plan, rank_plans
from lfwrap.plan.request import PlanRequest
from lfwrap.recipe.values import ResolvedValues
from lfwrap.strategy.planning import Machine, plan_request
from lfwrap.strategy.strategy import FREE_SPEEDS, Strategy, strategy_of_plan


def find_candidates(values: ResolvedValues, machine: Machine, count: int) -> list[Strategy]:
    """The most promising strategies, ``speed: auto``'s own choice first; with the extension where the recipe says max.

    Args:
        values: the recipe's values on the machine.
        machine: where the trials are made.
        count: how many there may be.

    Raises:
        UsageError: the recipe leaves nothing to choose.
        PreflightError: nothing can be planned, as the model's shapes are unknown.
        PlanError: nothing fits.
    """
    recipe = values.recipe
    speed = recipe.intent.speed
    if not recipe.has_intent or speed not in FREE_SPEEDS:
        raise UsageError(
            f"{recipe.path}: lfwrap.speed is {speed if recipe.has_intent else 'none'}: there is nothing to choose.",
            hint="Write speed: auto (or max) into its lfwrap: block, or add lfwrap.speed=auto here and to `train`.",
        )
    request = plan_request(values, machine)
    auto = dataclasses.replace(request, speed="auto")
    if speed == "auto":
        return _ranked(auto, count) or [_last_resort(auto)]
    own = _ranked(auto, 1) or [_last_resort(auto)]
    extended = _ranked(request, count - 1) or own
    return [*own, *(dataclasses.replace(each, extension=True) for each in extended)]


def _ranked(request: PlanRequest, count: int) -> list[Strategy]:
    """The best that fit, the best first."""
    return [strategy_of_plan(plan) for plan in rank_plans(request, count)]


def _last_resort(request: PlanRequest) -> Strategy:
    """What is left where nothing fits: on a machine without a GPU, the recipe as it is written.

    Raises:
        PlanError: on a GPU.
    """
    return strategy_of_plan(make_plan(request) if request.hardware.gpus else predict_plan(request))
