"""How far a run has moved its weights: measured in a child from files alone, summed up here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.contract import WeightsJob
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import LfwrapError
from lfwrap.inference.held_out_rows import engine_settings
from lfwrap.model.fingerprint import model_folder
from lfwrap.model.folder import AdapterFolder, is_adapter, trained_folder
from lfwrap.run.folder.record import Run
from lfwrap.units import plural

_GRACE_S = 3.0
_PISSA_START = "pissa_init"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class WeightChange:
    """How far the weights of a result are from those that it began with.

    Attributes:
        layers: layers that the training could change, by the result's files.
        moved: how many of them are another now; None where that is not known.
        broken: layers with numbers that are not finite.
        ratio: the median over layers of the change's size by the base's own; None where it is not known.
        largest: the largest of these.
        measured: layers whose size is known.
        equal_to: checkpoints that hold the very same weights.
        compared: checkpoints that were held against the result.
        notes: what is not known, and why.
    """

    layers: int
    moved: int | None
    broken: tuple[str, ...] = ()
    ratio: float | None = None
    largest: float | None = None
    measured: int = 0
    equal_to: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def measure_weights(engine: Engine, run: Run, limit_s: float) -> WeightChange:
    """Measure a run's result in at most ``limit_s`` seconds; sizes that take longer are left out.

    Raises:
        LfwrapError: there is no result that can be read.
    """
    settings, record = engine_settings(run), run.record
    cwd = _training_cwd(run)
    adapter = trained_folder(run.paths.output, record.finetuning_type)
    is_lora = isinstance(adapter, AdapterFolder)
    problems = adapter.weight_problems()
    if problems:
        raise LfwrapError(f"the result is not whole: {'; '.join(problems)}")
    start, notes = _start(run, settings, cwd) if is_lora else (None, [])
    base = model_folder(record.base_model, cwd, settings.get("model_revision"))
    if base is None:
        notes.append(f"the base's weights are not on this machine ({record.base_model}): sizes are not known")
    checkpoints = run.paths.checkpoints()
    job: WeightsJob = {
        "result": str(run.paths.output),
        "is_adapter": is_lora,
        "start": str(start) if start else None,
        "base": str(base) if base else None,
        "checkpoints": [str(path) for path in checkpoints],
        "limit_s": limit_s,
    }
    return _summed(_measure(engine, job, limit_s), checkpoints, notes, is_known=not _changes_base(run, start))


def measure_adapter(engine: Engine, adapter: Path, limit_s: float = 10.0) -> WeightChange:
    """Whether an adapter's folder holds any change at all; nothing is held against the base. Raises LfwrapError."""
    job: WeightsJob = {
        "result": str(adapter),
        "is_adapter": True,
        "start": None,
        "base": None,
        "checkpoints": [],
        "limit_s": limit_s,
    }
    return _summed(_measure(engine, job, limit_s), (), [], is_known=not AdapterFolder(adapter).changes_the_base())


def unchanged_reason(engine: Engine, adapter: Path) -> str:
    """Why an adapter answers as its base does, where its weights say so; empty where they don't, or can't be read."""
    try:
        found = measure_adapter(engine, adapter)
    except LfwrapError:
        return ""
    if found.moved != 0:
        return ""
    if not found.layers:
        return "the adapter stands on no layer"
    return f"the adapter's weights are zero in all of {plural(found.layers, 'layer')}: no update changed them"


def _measure(engine: Engine, job: WeightsJob, limit_s: float) -> Mapping[str, Any]:
    return run_worker(
        engine.python,
        "weight_changes",
        job,
        environment=engine_environment(model_is_local=True, runs_model=False),
        timeout_s=limit_s + _GRACE_S,
        text=FailureText("The result's weights can't be read"),
    )


def _summed(
    found: Mapping[str, Any], checkpoints: Sequence[Path], notes: Sequence[str], *, is_known: bool
) -> WeightChange:
    layers: Sequence[Mapping[str, Any]] = found["layers"]
    told = list(notes)
    known = [layer for layer in layers if layer["moved"] is not None]
    if not is_known:
        told.append("this initialisation changes the base itself, and what it began with was not kept")
    ratios = [layer["ratio"] for layer in layers if layer["ratio"] is not None] if is_known else []
    lacks_size = any(layer["finite"] and layer["ratio"] is None for layer in layers)
    if lacks_size and not ratios and not notes and is_known:
        told.append("the base's weights are quantised, named otherwise, or no safetensors: sizes are not known")
    return WeightChange(
        layers=len(layers),
        moved=sum(layer["moved"] for layer in known) if is_known and (known or not layers) else None,
        broken=tuple(layer["name"] for layer in layers if not layer["finite"]),
        ratio=statistics.median(ratios) if ratios else None,
        largest=max(ratios, default=None),
        measured=len(ratios),
        equal_to=tuple(found["equal_to"]),
        compared=tuple(path.name for path in checkpoints),
        notes=tuple(told),
    )


def _start(run: Run, settings: Mapping[str, Any], cwd: Path) -> tuple[Path | None, list[str]]:
    """The adapter that a training began from, and what is to be said where it is not there."""
    pissa = run.paths.output / _PISSA_START
    if is_adapter(pissa):
        return pissa, []
    named = settings.get("adapter_name_or_path")
    if not named or settings.get("create_new_adapter"):
        return None, []
    last = str(named).split(",")[-1] if isinstance(named, str) else str(list(named)[-1])
    folder = cwd / Path(last).expanduser()
    if AdapterFolder(folder).problems():
        return None, [f"the adapter that it began from is gone ({last}): what was there before counts as moved"]
    return folder, []


def _changes_base(run: Run, start: Path | None) -> bool:
    """Whether the adapter's matrices are no zero at the start, and the start is not known."""
    folder = AdapterFolder(run.paths.output)
    if start is not None or not folder.config_file.is_file():
        return False
    begun = folder.config().get("init_lora_weights")
    return (isinstance(begun, str) and begun not in {"gaussian", "eva", "orthogonal"}) or begun is False


def _training_cwd(run: Run) -> Path:
    """The folder in which the training was started, from which its relative paths count."""
    try:
        command = orjson.loads(run.paths.attempt(max(run.record.attempt, 0)).command.read_bytes())
        return Path(str(command["cwd"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Path.cwd()
