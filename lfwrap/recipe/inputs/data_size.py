"""``effective_batch_size: auto``: batch, epochs and learning rate as the number of rows asks for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from lfwrap.engine.keys import ACCUMULATION_KEY, BATCH_KEYS, DEFAULT_METHOD, EPOCHS_KEY, METHOD_KEY, MICRO_KEY
from lfwrap.errors import PreflightError
from lfwrap.model.hf_config import load_model_facts
from lfwrap.plan.data_size import SizeChoice, choose_for_rows
from lfwrap.plan.inputs.batch import DEFAULT_MAX_MICRO_BATCH, nearest_batch
from lfwrap.recipe.inputs.datasets import find_dataset_dir, measure_rows
from lfwrap.recipe.intent import AUTO
from lfwrap.recipe.recipe import Recipe, Source

_UNKNOWN_ROWS_BATCH = 16
_RATE_KEY = "learning_rate"


def settle_size(recipe: Recipe, cwd: Path, count_processes: Callable[[], int] = lambda: 1) -> Recipe:
    """A recipe whose ``effective_batch_size: auto`` is a number; any other recipe stays as it is.

    Epochs and learning rate that the recipe (or the command line) leaves open are set with it. Where the rows can't be
    counted here (a data set on a hub), 16 rows an update are taken, and nothing else is changed. The number is one that
    the processes can make: 8 GPUs see 8 rows or more an update.

    Args:
        recipe: the recipe.
        cwd: the folder that its data sets are looked for from.
        count_processes: counts the training processes; called for ``auto`` alone, as looking at a machine takes time.

    Raises:
        LfwrapError: what ``count_processes`` raises.
    """
    if recipe.intent.effective_batch_size != AUTO:
        return recipe
    folder = find_dataset_dir(recipe, cwd).path
    rows = measure_rows(recipe, Path(folder) if folder else None, str(recipe.engine_values.get("template") or ""))
    nearest = _nearest(recipe, count_processes())
    if rows is None or rows.count is None:
        batch = nearest(_UNKNOWN_ROWS_BATCH)
        return _with_batch(recipe, batch, f"The rows can't be counted here: {batch} an update.")
    choice = _choice(recipe, rows.count, nearest)
    values, sources = dict(recipe.engine_values), dict(recipe.sources)
    wanted = {EPOCHS_KEY: choice.epochs, _RATE_KEY: choice.learning_rate}
    most = values.get("max_steps")
    if isinstance(most, int) and most > 0:
        del wanted[EPOCHS_KEY]
    for key, value in wanted.items():
        if key not in values:
            values[key], sources[key] = value, Source.DATA_SIZE
    settled = _with_batch(recipe, choice.batch, f"{choice}.")
    return dataclasses.replace(settled, engine_values=values, sources=sources)


def _nearest(recipe: Recipe, processes: int) -> Callable[[int], int]:
    """A batch → the nearest one that these processes can make, with what the command line fixes of its factors."""
    values = {key: recipe.engine_values.get(key) for key in BATCH_KEYS}
    usable = {key: value for key, value in values.items() if isinstance(value, int) and value > 0}
    fixed = {key: value for key, value in usable.items() if recipe.sources[key] is Source.COMMAND_LINE}
    limit = usable.get(MICRO_KEY) or recipe.intent.max_micro_batch or DEFAULT_MAX_MICRO_BATCH
    return functools.partial(
        nearest_batch,
        world_size=processes,
        micro_batch=fixed.get(MICRO_KEY),
        accumulation=fixed.get(ACCUMULATION_KEY),
        max_micro_batch=limit,
    )


def _choice(recipe: Recipe, rows: int, nearest: Callable[[int], int]) -> SizeChoice:
    method = str(recipe.engine_values.get(METHOD_KEY) or DEFAULT_METHOD)
    try:
        model = load_model_facts(recipe.model) if recipe.model else None
    except PreflightError:  # a broken config.json: preflight says so
        model = None
    if model is None:
        return choose_for_rows(rows, method, nearest=nearest)
    return choose_for_rows(rows, method, width=model.hidden_size, architecture=model.architecture, nearest=nearest)


def _with_batch(recipe: Recipe, batch: int, note: str) -> Recipe:
    intent = dataclasses.replace(recipe.intent, effective_batch_size=batch)
    return dataclasses.replace(recipe, intent=intent, size_note=note)
