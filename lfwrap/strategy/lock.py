"""A recipe's lock file: which strategy was measured to be the fastest, on which machine, with which versions.

It lies beside the recipe (``my.yaml`` → ``my.lock.yaml``); that of a bundled recipe, or of one in a folder that can't
be written, in the user's state folder. It holds one entry for each kind of machine and each content of the recipe.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lfwrap import __version__
from lfwrap.bundled import bundled_root
from lfwrap.dirs import locks_dir
from lfwrap.engine.arguments import EXTENSION_FOLDER
from lfwrap.engine.locate import Engine
from lfwrap.errors import RecipeError
from lfwrap.files import canonical_json, locked, sha256_bytes, write_text
from lfwrap.recipe.inputs.files import dataset_entries, hash_inputs
from lfwrap.recipe.recipe import Recipe
from lfwrap.strategy.planning import Machine, engine_versions
from lfwrap.units import format_bytes
from lfwrap.yaml_files import dump_yaml, load_yaml

SCHEMA = "lfwrap.lock/1"
_HEADER = "# Measured by `lfwrap tune`; `lfwrap train` follows it. Delete it to plan without.\n"
_DIGITS = 16
_KEPT_ENTRIES = 19
# What a training may be changed in without getting slower or faster.
_WITHOUT_WEIGHT = frozenset(
    {
        "data_seed", "do_eval", "eval_steps", "eval_strategy", "learning_rate", "logging_steps", "lr_scheduler_type",
        "num_train_epochs", "max_steps", "output_dir", "plot_loss", "report_to", "run_name", "save_steps",
        "save_strategy", "save_total_limit", "seed", "warmup_ratio", "warmup_steps", "weight_decay",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LockKey:
    """What a measurement holds for: it is followed where none of it has changed.

    Attributes:
        machine: the GPUs (or the CPU) and the number of processes.
        versions: of the engine, what it stands on, and lfwrap.
        recipe: a hash of its values, those left out that have no weight for its speed.
        data: a hash of its data sets' files.
    """

    machine: str
    versions: str
    recipe: str
    data: str

    def differences(self, other: LockKey) -> list[str]:
        """The names of what differs."""
        return [field.name for field in fields(self) if getattr(self, field.name) != getattr(other, field.name)]


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one candidate.

    Attributes:
        way: the candidate's settings, in a few words.
        speed: ``auto``, or ``max`` with lfwrap's extension of the engine.
        values: engine key → value.
        status: ``ok``, ``oom``, ``slower`` (given up), ``failed``, ``skipped``.
        why: why it was not taken; empty for the winner.
        epoch_s: seconds of an epoch, from the times of typical micro-batches.
        row_s: likewise of a row of the data; None where their number is unknown.
        tokens_per_s: tokens of the data a second, padding left out.
        supervised_tokens_per_s: those of them that are learned.
        peak_allocated_bytes: the most GPU memory in tensors, the longest batch included; None on a CPU.
        peak_reserved_bytes: the most that the allocator held.
        trial_s: seconds that the trial took.
    """

    way: str
    speed: str
    values: Mapping[str, Any]
    status: str
    why: str = ""
    epoch_s: float | None = None
    row_s: float | None = None
    tokens_per_s: float | None = None
    supervised_tokens_per_s: float | None = None
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    trial_s: float | None = None


@dataclass(frozen=True, slots=True)
class LockEntry:
    """The trials of one machine.

    Attributes:
        key: what they hold for.
        tuned_at: when, in UTC.
        winner: number of the fastest among the trials.
        trials: all of them, ``speed: auto``'s own choice first.
    """

    key: LockKey
    tuned_at: str
    winner: int
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The fastest of the trials."""
        return self.trials[self.winner]

    @property
    def auto(self) -> Trial:
        """What ``speed: auto`` chooses by itself."""
        return self.trials[0]

    def to_json(self) -> dict[str, Any]:
        """The entry as the file keeps it."""
        trials = [
            {key: value for key, value in asdict(trial).items() if value not in (None, "")} for trial in self.trials
        ]
        return {"key": asdict(self.key), "tuned_at": self.tuned_at, "winner": self.winner, "trials": trials}


def lock_paths(recipe: Path, environ: Mapping[str, str] = os.environ) -> tuple[Path, Path]:
    """Where a recipe's lock may lie: beside it; in the state folder, under a name made from the recipe's path."""
    place = sha256_bytes(str(recipe.resolve()).encode())[:8]
    state = locks_dir(environ) / f"{recipe.stem}-{place}.lock.yaml"
    return recipe.with_suffix(".lock.yaml"), state


def choose_lock_path(recipe: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where a recipe's lock is written."""
    beside, state = lock_paths(recipe, environ)
    is_bundled = recipe.resolve().is_relative_to(bundled_root() / "recipes")
    return state if is_bundled or not os.access(recipe.resolve().parent, os.W_OK) else beside


def load_lock(path: Path) -> list[LockEntry]:
    """The entries of a lock file; none where there is no such file.

    Raises:
        RecipeError: it can't be read.
    """
    if not path.is_file():
        return []
    try:
        return [_read_entry(entry) for entry in load_yaml(path).values["entries"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RecipeError(f"{path}: not a lock file of lfwrap: {error!r}", hint="Delete it, or tune again.") from error


def _read_entry(entry: Mapping[str, Any]) -> LockEntry:
    trials = tuple(Trial(**trial) for trial in entry["trials"])
    found = LockEntry(LockKey(**entry["key"]), str(entry["tuned_at"]), int(entry["winner"]), trials)
    if found.best.status != "ok":
        raise ValueError("its winner was not measured")
    return found


def save_entry(path: Path, entry: LockEntry) -> None:
    """Put an entry into a lock file, in place of an earlier one of the same machine and recipe.

    Raises:
        RecipeError: the file that is there can't be read.
        PreflightError: it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = locks_dir() / f"{sha256_bytes(str(path.resolve()).encode())[:_DIGITS]}.lock"
    with locked(guard):
        own = (entry.key.machine, entry.key.recipe)
        kept = [each for each in load_lock(path) if (each.key.machine, each.key.recipe) != own]
        write_entries(path, [*kept[-_KEPT_ENTRIES:], entry])


def write_entries(path: Path, entries: Sequence[LockEntry]) -> None:
    """Write a lock file with these entries. Raises PreflightError when it can't be written."""
    body = {"schema": SCHEMA, "entries": [entry.to_json() for entry in entries]}
    write_text(path, _HEADER + dump_yaml(body))


def describe_key(recipe: Recipe, machine: Machine, engine: Engine, cwd: Path) -> LockKey:
    """What a measurement made now would hold for.

    Args:
        recipe: the recipe.
        machine: where it runs.
        engine: the engine there.
        cwd: the folder that relative paths count from.
    """
    weighty = {key: value for key, value in recipe.resolved.items() if key not in _WITHOUT_WEIGHT}
    return LockKey(
        machine=describe_machine(machine),
        versions=f"{engine_versions(engine)} lfwrap {__version__} extension {_extension_digest()}",
        recipe=_digest(weighty),
        data=_digest(_data_state(recipe, machine, cwd)),
    )


def describe_machine(machine: Machine) -> str:
    """``1 × NVIDIA H100 80GB HBM3, 79.6 GiB``; of a CPU its cores and memory."""
    hardware, gpu = machine.hardware, machine.hardware.smallest_gpu
    if gpu is None:
        name = f"CPU ({platform.machine()}, {hardware.cpu_cores} cores)"
        return f"{machine.world_size} × {name}"
    return f"{machine.world_size} × {gpu.name}, {format_bytes(gpu.memory_bytes)}, {hardware.interconnect}"


def _data_state(recipe: Recipe, machine: Machine, cwd: Path) -> dict[str, Any]:
    """The content of the recipe's data sets, and how they are registered."""
    folder = str(machine.dataset_dir) if machine.dataset_dir else recipe.engine_values.get("dataset_dir")
    values = {"dataset": recipe.engine_values.get("dataset"), "dataset_dir": folder}
    named = {key: value for key, value in values.items() if value}
    files = {what: file["sha256"] for what, file in hash_inputs(named, cwd, {}).items()}
    return {"files": files, "entries": dataset_entries(named, cwd)}


def _extension_digest() -> str:
    """A hash of the extension's source: another one has another speed."""
    content = b"".join(path.read_bytes() for path in sorted(EXTENSION_FOLDER.glob("*.py")))
    return sha256_bytes(content)[:8]


def _digest(value: Any) -> str:
    return sha256_bytes(canonical_json(value))[:_DIGITS]
