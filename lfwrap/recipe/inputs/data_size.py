"""``effective_batch_size: auto``: batch, epochs and learning rate as the number of rows asks for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lfwrap.engine.keys import DEFAULT_METHOD, EPOCHS_KEY, METHOD_KEY
from lfwrap.errors import PreflightError
from lfwrap.model.hf_config import load_model_facts
from lfwrap.plan.data_size import SizeChoice, choose_for_rows
from lfwrap.recipe.inputs.datasets import find_dataset_dir, measure_rows
from lfwrap.recipe.intent import AUTO
from lfwrap.recipe.recipe import Recipe, Source

_UNKNOWN_ROWS_BATCH = 16
_RATE_KEY = "learning_rate"


def settle_size(recipe: Recipe, cwd: Path) -> Recipe:
    """A recipe whose ``effective_batch_size: auto`` is a number; any other recipe stays as it is.

    Epochs and learning rate that the recipe (or the command line) leaves open are set with it. Where the rows can't be
    counted here (a data set on a hub), 16 rows an update are taken, and nothing else is changed.

    Args:
        recipe: the recipe.
        cwd: the folder that its data sets are looked for from.
    """
    if recipe.intent.effective_batch_size != AUTO:
        return recipe
    folder = find_dataset_dir(recipe, cwd).path
    rows = measure_rows(recipe, Path(folder) if folder else None, str(recipe.engine_values.get("template") or ""))
    if rows is None or rows.count is None:
        note = f"The rows can't be counted here: {_UNKNOWN_ROWS_BATCH} an update."
        return _with_batch(recipe, _UNKNOWN_ROWS_BATCH, note)
    choice = _choice(recipe, rows.count)
    values, sources = dict(recipe.engine_values), dict(recipe.sources)
    wanted = {EPOCHS_KEY: choice.epochs, _RATE_KEY: choice.learning_rate}
    if values.get("max_steps", -1) and int(values.get("max_steps") or -1) > 0:
        del wanted[EPOCHS_KEY]
    for key, value in wanted.items():
        if key not in values:
            values[key], sources[key] = value, Source.DATA_SIZE
    settled = _with_batch(recipe, choice.batch, f"{choice}.")
    return dataclasses.replace(settled, engine_values=values, sources=sources)


def _choice(recipe: Recipe, rows: int) -> SizeChoice:
    method = str(recipe.engine_values.get(METHOD_KEY) or DEFAULT_METHOD)
    try:
        model = load_model_facts(recipe.model) if recipe.model else None
    except PreflightError:  # a broken config.json: preflight says so
        model = None
    if model is None:
        return choose_for_rows(rows, method)
    return choose_for_rows(rows, method, width=model.hidden_size, architecture=model.architecture)


def _with_batch(recipe: Recipe, batch: int, note: str) -> Recipe:
    intent = dataclasses.replace(recipe.intent, effective_batch_size=batch)
    return dataclasses.replace(recipe, intent=intent, size_note=note)
