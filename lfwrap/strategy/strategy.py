"""What a training takes of its recipe's lock: the way that was measured, or why the lock is left alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.engine.locate import Engine
from lfwrap.errors import LfwrapError
from lfwrap.recipe.recipe import Recipe
from lfwrap.strategy.candidates import FREE, Way, follow_values
from lfwrap.strategy.lock import LockEntry, LockKey, Trial, describe_key, load_lock, lock_paths
from lfwrap.strategy.planning import Machine, Planned


@dataclass(frozen=True, slots=True)
class LockUse:
    """What the lock comes to.

    Attributes:
        way: the way to take; None where the lock is left alone.
        note: the line that says so; empty where there is no lock.
        entry: the measurements that are followed.
    """

    way: Way | None = None
    note: str = ""
    entry: LockEntry | None = None


def use_lock(
    recipe: Recipe,
    resolved: Mapping[str, Any],
    facts: EngineFacts,
    machine: Machine,
    *,
    engine: Engine | None,
    cwd: Path,
    environ: Mapping[str, str] = os.environ,
) -> LockUse:
    """What the recipe's lock says for this machine, these versions and this data.

    Args:
        recipe: the recipe.
        resolved: its own values with its block.
        facts: the engine's keys.
        machine: where it shall run.
        engine: the engine there; without one the versions are unknown, and no lock is followed.
        cwd: the folder that relative paths count from.
        environ: where the state folder is named.
    """
    if engine is None or recipe.intent.speed not in FREE:
        return LockUse()
    path = next((path for path in lock_paths(recipe.path, environ) if path.is_file()), None)
    if path is None:
        return LockUse()
    try:
        entries = load_lock(path)
        key = describe_key(resolved, data_values(recipe, machine), machine, engine, cwd)
        entry = next((entry for entry in entries if entry.key == key), None)
        if entry is None:
            return LockUse(note=_stale(path, entries, key))
        note = _followed(path, entry)
        planned = follow_values(recipe, facts, machine, entry.best.values, note)
    except (LfwrapError, OSError, ValueError, KeyError, TypeError) as error:
        return LockUse(note=f"{path.name}: ignored, as it can't be followed: {error}")
    planned = Planned(planned.plan, planned.values, (note, *planned.notes))
    return LockUse(Way(planned, entry.best.speed == "max"), note, entry)


def data_values(recipe: Recipe, machine: Machine) -> dict[str, Any]:
    """What names the recipe's data: its sets, and where they are registered."""
    folder = str(machine.dataset_dir) if machine.dataset_dir else recipe.engine_values.get("dataset_dir")
    return {"dataset": recipe.engine_values.get("dataset"), "dataset_dir": folder}


def _followed(path: Path, entry: LockEntry) -> str:
    best, auto = entry.best, entry.auto
    gain = f", speed: auto's own choice {_pace(auto)}" if entry.winner and auto.epoch_s else ""
    way = f"{best.way}, " if best.way else ""
    return f"Measured by `lfwrap tune` on {entry.tuned_at[:10]} ({path.name}): {way}{_pace(best)}{gain}."


def _pace(trial: Trial) -> str:
    if trial.row_s is not None:
        return f"{trial.row_s:.4g} s a row"
    return f"{trial.epoch_s:.4g} s an epoch"


def _stale(path: Path, entries: list[LockEntry], key: LockKey) -> str:
    """What is not as it was, of the entry that comes nearest."""
    found = min((entry.key.differences(key) for entry in entries), key=len, default=[])
    return f"{path.name}: ignored, measured with other {', '.join(found) or 'settings'}; `lfwrap tune` measures again."
