"""What a run will do with its data: the schedule of its updates, as the strategy makes them up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.plan.candidate import Candidate
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths, pack_rows
from lfwrap.plan.request import PlanRequest
from lfwrap.plan.schedule import Schedule, make_schedule
from lfwrap.recipe.inputs.datasets import measure_rows
from lfwrap.recipe.recipe import Recipe
from lfwrap.strategy.strategy import Strategy

_PACKING_KEYS = ("packing", "neat_packing")


def foretell_schedule(
    recipe: Recipe, values: Mapping[str, Any], batch: BatchPlan | None, strategy: Strategy, dataset_dir: Path | None
) -> Schedule | None:
    """The updates of a run and their learning rates; None where its rows or its batch are not known.

    Args:
        recipe: the recipe.
        values: the engine's values as rendered.
        batch: how an update is made up, of rows or of packs.
        strategy: how the recipe is run.
        dataset_dir: the folder that registers the data sets; None where they can't be read here.
    """
    if batch is None or not values.get("do_train", True) or values.get("stage", "sft") not in ("sft", "pt"):
        return None
    rows = strategy.plan.rows if strategy.plan is not None else None
    if rows is None or rows.count is None:
        rows = measure_rows(recipe, dataset_dir, str(values.get("template") or ""))
    per_update = _rows_per_update(values, batch, rows)
    if per_update is None:
        return None
    return make_schedule(
        values, rows.count if rows else None, per_update, rows.trained_tokens if rows is not None else None
    )


def plan_schedule(request: PlanRequest, candidate: Candidate) -> Schedule | None:
    """The updates of a planned training and their learning rates; None where its rows are not known."""
    if candidate.rows_per_update is None:
        return None
    values = {**request.values, **{key: setting.value for key, setting in candidate.changes.items()}}
    return make_schedule(values, request.rows.count, candidate.rows_per_update, request.rows.trained_tokens)


def _rows_per_update(values: Mapping[str, Any], batch: BatchPlan, rows: RowLengths | None) -> float | None:
    if not any(values.get(key) for key in _PACKING_KEYS):
        return float(batch.effective)
    cutoff = int(values.get("cutoff_len") or 0)
    packs = pack_rows(rows.cut(cutoff), cutoff) if rows is not None and cutoff else None
    return None if packs is None else batch.effective * packs.rows_per_pack
