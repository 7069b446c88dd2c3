"""How a recipe is run on a machine: as its lock file says, as it is planned, or as it is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from lfwrap.debug import note
from lfwrap.engine.keys import ACCUMULATION_KEY, BATCH_KEYS, COMPILE_KEY, MICRO_KEY
from lfwrap.errors import LfwrapError, PlanError, PreflightError
from lfwrap.invocation import Invocation
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.plan import Plan, make_plan, plan_candidate, predict_plan
from lfwrap.plan.request import STAGE_KEY, PlanRequest, Setting
from lfwrap.recipe.recipe import Recipe
from lfwrap.recipe.values import ResolvedValues
from lfwrap.strategy.lock import LockEntry, LockKey, Trial, describe_key, load_lock, lock_paths
from lfwrap.strategy.planning import Machine, has_planned_gpus, may_change, plan_request

FREE_SPEEDS = frozenset({"auto", "max"})
"""The values of ``lfwrap.speed`` that leave something to choose for speed alone."""


class StrategySource(StrEnum):
    """What decided on a strategy: recipe, plan or lock file."""

    RECIPE = "recipe"
    PLAN = "plan"
    LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a recipe is run on a machine.

    Attributes:
        plan: its predicted memory and speed; None where they can't be predicted.
        settings: engine key → setting: what is set for speed or memory, micro-batch and accumulation included.
        zero_stage: the ZeRO stage to train with; None leaves the recipe's.
        compiles_layers: lfwrap's own start of the engine compiles each layer.
        extension: with lfwrap's extension of the engine (``speed: max``).
        source: what decided.
        lock: the measurements that are followed; None where it is not a lock that decided.
        notes: what the person should know of it.
    """

    plan: Plan | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    zero_stage: int | None = None
    compiles_layers: bool = False
    extension: bool = False
    source: StrategySource = StrategySource.RECIPE
    lock: LockEntry | None = None
    notes: tuple[str, ...] = ()

    @property
    def choices(self) -> dict[str, Any]:
        """All that was chosen, as a lock file keeps it: key of a recipe → value; empty where nothing was."""
        if self.plan is None or self.source is StrategySource.RECIPE:
            return {}
        candidate = self.plan.candidate
        batch = {MICRO_KEY: candidate.batch.micro_batch, ACCUMULATION_KEY: candidate.batch.accumulation}
        return {**{key: setting.value for key, setting in candidate.changes.items()}, **batch}


def written_strategy(recipe: Recipe) -> Strategy:
    """The recipe as it is written, without a plan."""
    return Strategy(extension=recipe.intent.speed == "max")


def choose_strategy(
    values: ResolvedValues, machine: Machine, invocation: Invocation, *, use_lock: bool = True, force: bool = False
) -> Strategy:
    """How a training of this recipe is run on this machine: by its lock where that holds, else by a plan.

    Args:
        values: the recipe's values there, the recipe found right by `check_recipe`.
        machine: where it will run.
        invocation: whose folder and environment name the lock.
        use_lock: whether what `lfwrap tune` has measured counts.
        force: whether what does not fit is tried all the same.

    Raises:
        PlanError: nothing fits the GPUs; the hint names the nearest that does.
    """
    about_lock = ""
    if use_lock:
        locked, about_lock = follow_lock(values, machine, invocation)
        if locked is not None:
            _tell(locked)
            return locked
    try:
        planned = plan_strategy(values, machine)
    except PlanError as error:
        if not force:
            raise
        planned = dataclasses.replace(written_strategy(values.recipe), notes=(f"Tried all the same: {error.message}",))
    if about_lock:
        planned = dataclasses.replace(planned, notes=(about_lock, *planned.notes))
    _tell(planned)
    return planned


def _tell(strategy: Strategy) -> None:
    """Note the choice for whoever debugs a run."""
    chosen = ", ".join(f"{key}={value}" for key, value in strategy.choices.items()) or "nothing changed"
    note("strategy", "from the %s: %s%s", strategy.source, chosen, ", with the extension" if strategy.extension else "")
    for line in strategy.notes:
        note("strategy", "%s", line)


def plan_strategy(values: ResolvedValues, machine: Machine, rows: RowLengths | None = None) -> Strategy:
    """The strategy of a new plan, or the recipe as it is written where none can be made.

    A recipe without the ``lfwrap:`` block, or with ``speed: none``, is left as it is: only a warning where it would not
    fit. So is one whose model is unknown, or a training of a kind that is not modelled.

    Args:
        values: the recipe's values on the machine, the recipe found right by `check_recipe`.
        machine: where it will run.
        rows: lengths of the data's rows; None measures them, and where that can't be done plans for the cutoff.

    Raises:
        PlanError: nothing fits the GPUs; the hint names the nearest that does.
    """
    as_written = written_strategy(values.recipe)
    try:
        request = plan_request(values, machine, rows)
    except PreflightError as error:
        return dataclasses.replace(as_written, notes=(f"No plan was made: {error.message}",))
    if not may_change(request):
        return _predicted(request, as_written)
    try:
        plan = make_plan(request)
    except PlanError:
        if has_planned_gpus(machine.hardware):
            raise
        return _predicted(request, as_written)
    return strategy_of_plan(plan, extension=as_written.extension)


def _predicted(request: PlanRequest, as_written: Strategy) -> Strategy:
    """The recipe as it is written, with a warning where it would not fit."""
    plan = predict_plan(request)
    notes = () if plan.fits else (f"It will probably not fit: {plan.shortage}.",)
    return dataclasses.replace(as_written, plan=plan, notes=notes)


def strategy_of_plan(plan: Plan, *, extension: bool = False) -> Strategy:
    """The strategy that follows a plan: micro-batch and accumulation, and what it changes for speed or memory."""
    candidate = plan.candidate
    of = "packs" if candidate.settings.packing else "rows"
    reason = f"{candidate.batch} {of} an update (micro-batch × accumulation × processes): {plan.why_this_batch}"
    return _from_changes(plan, candidate.changes, reason, extension=extension)


def _from_changes(plan: Plan, changes: Mapping[str, Setting], batch_reason: str, *, extension: bool) -> Strategy:
    """A plan's changes: those of the engine's YAML, the ZeRO stage, and what compiles."""
    batch = {
        MICRO_KEY: Setting(plan.candidate.batch.micro_batch, batch_reason),
        ACCUMULATION_KEY: Setting(plan.candidate.batch.accumulation, batch_reason),
    }
    stage, compiles = changes.get(STAGE_KEY), changes.get(COMPILE_KEY)
    return Strategy(
        plan=plan,
        settings={key: each for key, each in changes.items() if key not in {STAGE_KEY, COMPILE_KEY}} | batch,
        zero_stage=None if stage is None else stage.value,
        compiles_layers=compiles is not None and bool(compiles.value),
        extension=extension,
        source=StrategySource.PLAN,
        notes=plan.notes,
    )


def measured_strategy(
    values: ResolvedValues, machine: Machine, choices: Mapping[str, Any], reason: str, *, extension: bool = False
) -> Strategy:
    """The strategy that takes what was measured to be the fastest, to the letter.

    Args:
        values: the recipe's values on the machine.
        machine: where it will run.
        choices: key → value as `Strategy.choices` has them.
        reason: why, for each of them.
        extension: whether it was measured with lfwrap's extension of the engine.

    Raises:
        PreflightError: nothing can be planned, as the model's shapes are unknown.
    """
    request = plan_request(values, machine)
    batch = BatchPlan(int(choices[MICRO_KEY]), int(choices[ACCUMULATION_KEY]), request.world_size)
    changes = {key: Setting(value, reason) for key, value in choices.items() if key not in BATCH_KEYS}
    plan = plan_candidate(request, changes, batch)
    found = _from_changes(plan, changes, reason, extension=extension)
    return dataclasses.replace(found, source=StrategySource.LOCK)


def follow_lock(values: ResolvedValues, machine: Machine, invocation: Invocation) -> tuple[Strategy | None, str]:
    """What the recipe's lock says for this machine, these versions and this data.

    Args:
        values: the recipe's values on the machine.
        machine: where it will run; where its engine is unknown, so are the versions, and no lock is followed.
        invocation: whose folder and environment name the lock.

    Returns:
        The strategy, and the line that says so; None and why it is left alone, which is empty where there is no lock.
    """
    recipe = values.recipe
    if machine.engine is None or recipe.intent.speed not in FREE_SPEEDS:
        return None, ""
    paths = lock_paths(recipe.path, invocation.environ)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        note("strategy", "no lock: neither %s nor %s is there", *paths)
        return None, ""
    try:
        entries = load_lock(path)
        key = describe_key(recipe, machine, machine.engine, invocation.cwd)
        entry = next((entry for entry in entries if entry.key == key), None)
        if entry is None:
            return None, _why_stale(path, entries, key)
        said, extension = _what_was_measured(path, entry), entry.best.speed == "max"
        found = measured_strategy(values, machine, entry.best.values, said, extension=extension)
    except (LfwrapError, OSError, ValueError, KeyError, TypeError) as error:
        return None, f"{path.name}: ignored, as it can't be followed: {error}"
    return dataclasses.replace(found, lock=entry, notes=(said, *found.notes)), said


def _what_was_measured(path: Path, entry: LockEntry) -> str:
    best, auto = entry.best, entry.auto
    gain = f", speed: auto's own choice {_pace(auto)}" if entry.winner and auto.epoch_s else ""
    way = f"{best.way}, " if best.way else ""
    return f"Measured by `lfwrap tune` on {entry.tuned_at[:10]} ({path.name}): {way}{_pace(best)}{gain}."


def _pace(trial: Trial) -> str:
    if trial.row_s is not None:
        return f"{trial.row_s:.4g} s a row"
    return f"{trial.epoch_s:.4g} s an epoch"


def _why_stale(path: Path, entries: list[LockEntry], key: LockKey) -> str:
    """What has changed since the entry that comes nearest was measured."""
    found = min((entry.key.differences(key) for entry in entries), key=len, default=[])
    return f"{path.name}: ignored, measured with other {', '.join(found) or 'settings'}; `lfwrap tune` measures again."
