"""Whether a training makes enough updates to learn anything."""

from __future__ import annotations

from collections.abc import Iterator

from lfwrap.errors import Finding, Severity
from lfwrap.plan.data_size import SizeChoice, enough_updates
from lfwrap.plan.schedule import FEW_UPDATES, Schedule
from lfwrap.recipe.recipe import Recipe
from lfwrap.units import plural


def check_schedule(schedule: Schedule | None, recipe: Recipe, *, force: bool) -> Iterator[Finding]:
    """No update with a learning rate above 0 is an error, fewer than `FEW_UPDATES` of them a warning.

    Args:
        schedule: the schedule; None where it is not known.
        recipe: the recipe, for the keys that would change it.
        force: train all the same: then the error is a warning, too.
    """
    learning = None if schedule is None else schedule.learning_updates
    if schedule is None or learning is None or learning >= FEW_UPDATES:
        return
    said = f"{_rows(schedule)} {plural(schedule.updates, 'update')}"
    hint = _way_out(schedule, recipe)
    if learning == 0:
        why = "whose learning rate is 0 (the warm-up begins there)" if schedule.peak else "at a learning rate of 0"
        severity = Severity.WARNING if force else Severity.ERROR
        hint = f"{hint} To train all the same: --force."
        yield Finding("no-learning", f"{said}, {why}: nothing would be learned.", severity, hint=hint)
        return
    some = "" if learning == schedule.updates else f", {learning} of them with a learning rate above 0"
    yield Finding(
        "few-updates",
        f"{said}{some}: too few to learn much ({FEW_UPDATES} is the least).",
        Severity.WARNING,
        hint=hint,
    )


def _rows(schedule: Schedule) -> str:
    if schedule.rows is None:
        return "The rows make"
    return f"{plural(schedule.rows, 'row')} {'makes' if schedule.rows == 1 else 'make'}"


def _way_out(schedule: Schedule, recipe: Recipe) -> str:
    if not schedule.peak:
        return "Set learning_rate; 1.0e-04 to 2.0e-04 suits LoRA."
    if schedule.rows is None or schedule.updates_per_epoch is None:
        return "Raise max_steps."
    if int(recipe.engine_values.get("max_steps") or -1) > 0:
        return f"Raise max_steps to {FEW_UPDATES + schedule.warmup_updates} or more."
    lost = schedule.updates - (schedule.learning_updates or 0)
    batch = max(1, round(schedule.rows_per_update))
    choice = enough_updates(schedule.rows, FEW_UPDATES, batch, schedule.epochs or 1.0, lost=max(1, min(lost, 1)))
    return f"{_rows(schedule)} {plural(choice.updates, 'update')} at `{_keys(choice, recipe)}`."


def _keys(choice: SizeChoice, recipe: Recipe) -> str:
    batch = f"lfwrap.effective_batch_size={choice.batch}"
    if not recipe.has_intent:
        batch = f"per_device_train_batch_size=1 gradient_accumulation_steps={choice.batch}"
    return f"{batch} num_train_epochs={choice.epochs:g}"
