"""Evaluate on rows that were kept back where the recipe says nothing about evaluation, as often as costs little."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lfwrap.data.datasets.dataset import Dataset, find_dataset
from lfwrap.engine.keys import DEFAULT_EPOCHS, EPOCHS_KEY
from lfwrap.errors import LfwrapError
from lfwrap.plan.request import Setting
from lfwrap.recipe.layers import Layers
from lfwrap.recipe.recipe import Recipe
from lfwrap.units import plural

SUFFIX = "_val"
"""How `lfwrap prepare-data --val-size` names the rows that it keeps back."""
_COST = 0.05
_FORWARD_PART = 1 / 3
"""A row forward costs a third of a row forward and backward (2 of 6 operations a weight and token)."""
_TIMES = (10, 5, 2)
_STAGES = frozenset({"sft", "pt"})
_SAYS_SOMETHING = frozenset(
    {
        "eval_dataset", "val_size", "eval_strategy", "evaluation_strategy", "do_eval", "eval_steps", "do_predict",
        "predict_with_generate", "early_stopping_steps", "load_best_model_at_end", "metric_for_best_model",
        "eval_on_each_dataset", "per_device_eval_batch_size", "streaming",
    }
)  # fmt: skip
_LINES = frozenset({".jsonl", ".ndjson"})
_BLOCK_BYTES = 1 << 22
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a training is evaluated, where the recipe leaves that open.

    Attributes:
        settings: the engine's keys; empty where there is nothing to evaluate on, or the recipe says something.
        note: what the person should know; empty likewise.
    """

    settings: Mapping[str, Setting] = field(default_factory=dict)
    note: str = ""


def choose_evaluation(recipe: Recipe, layers: Layers, dataset_dir: str | None, micro_batch: int | None) -> Evaluation:
    """Evaluate on NAME_val where that is registered beside the recipe's NAME.

    At each tenth, fifth or half of the training, whichever of these costs a twentieth of its time at most; else once,
    at its end.

    Args:
        recipe: the recipe.
        layers: the values as they are otherwise.
        dataset_dir: the folder that registers its data sets.
        micro_batch: rows that fit a device in training, and so in an evaluation, too.
    """
    if not recipe.has_intent or dataset_dir is None or _SAYS_SOMETHING & recipe.engine_values.keys():
        return Evaluation()
    if recipe.engine_values.get("do_train") is False or (layers.get("stage") or "sft") not in _STAGES:
        return Evaluation()
    kept = {name: kept for name in recipe.datasets if (kept := _kept_back(name, Path(dataset_dir), recipe.datasets))}
    trained = [_find(name, Path(dataset_dir)) for name in recipe.datasets]
    rows = [_count(each) if each else None for each in trained]
    val_rows = sum(_count(each) or 0 for each in kept.values())
    if not val_rows or None in rows:
        return Evaluation()
    seen = _rows_seen(recipe, layers, sum(count or 0 for count in rows))
    share = _FORWARD_PART * val_rows / seen
    names = ",".join(f"{name}{SUFFIX}" for name in kept)
    reason = f"Registered beside {', '.join(kept)}: the rows that were kept back."
    settings = {"eval_dataset": Setting(names, reason), **_often(recipe, layers, share)}
    if micro_batch is not None:
        settings["per_device_eval_batch_size"] = Setting(micro_batch, "What fits in training fits here.")
    times = settings["eval_steps"].value if "eval_steps" in settings else 1.0
    count = round(1 / float(times)) if times else 1
    note = (
        f"Evaluated on {names}, {plural(val_rows, 'row')}, {plural(count, 'time')}: about "
        f"{count * share:.1%} of the training's time. `do_eval: false` leaves it out."
    )
    return Evaluation(settings, note)


def _often(recipe: Recipe, layers: Layers, share: float) -> dict[str, Setting]:
    """When to evaluate: with the checkpoints where the block asks for those, else as often as costs little."""
    if recipe.intent.checkpoint_every_epoch_frac is not None:
        saved = {f"eval_{part}": layers.get(f"save_{part}") for part in ("strategy", "steps")}
        reason = "With each checkpoint (lfwrap.checkpoint_every_epoch_frac)."
        return {key: Setting(value, reason) for key, value in saved.items() if value is not None}
    times = next((count for count in _TIMES if count * share <= _COST), None)
    if times is None:
        return {"do_eval": Setting(True, "Once, at the end: more would take more than 5% of the time.")}
    reason = f"{times} times: {times * share:.1%} of the training's time."
    return {"eval_strategy": Setting("steps", reason), "eval_steps": Setting(1 / times, reason)}


def _rows_seen(recipe: Recipe, layers: Layers, rows: int) -> float:
    """How many rows the training goes through."""
    most, updates = layers.get("max_samples"), layers.get("max_steps")
    rows = min(rows, most * len(recipe.datasets)) if isinstance(most, int) and most > 0 else rows
    batch = recipe.intent.effective_batch_size
    if isinstance(updates, int) and updates > 0 and isinstance(batch, int):
        return max(1.0, float(updates * batch))
    epochs = layers.get(EPOCHS_KEY)
    return max(1.0, rows * float(epochs if isinstance(epochs, int | float) and epochs > 0 else DEFAULT_EPOCHS))


def _kept_back(name: str, folder: Path, trained: tuple[str, ...]) -> Dataset | None:
    kept = f"{name}{SUFFIX}"
    return _find(kept, folder) if kept not in trained else None


def _find(name: str, folder: Path) -> Dataset | None:
    try:
        found = find_dataset(name, folder)
        return found if found.entry and all(path.is_file() for path in found.files) else None
    except (LfwrapError, OSError):
        return None


def _count(dataset: Dataset) -> int | None:
    """The rows of a data set; None where it takes long to count them."""
    try:
        if all(path.suffix in _LINES for path in dataset.files):
            return sum(_count_lines(path) for path in dataset.files)
        if sum(path.stat().st_size for path in dataset.files) > _MOST_BYTES:
            return None
        return sum(1 for row in dataset.rows() if row.value is not None)
    except (LfwrapError, OSError):
        return None


def _count_lines(path: Path) -> int:
    """The lines of a file; the last one need not end."""
    count, last = 0, b"\n"
    with path.open("rb") as source:
        while block := source.read(_BLOCK_BYTES):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")
