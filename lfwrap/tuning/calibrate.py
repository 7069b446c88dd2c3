"""From a run that was trained on a GPU to a measurement that plans are corrected by."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.keys import COMPILE_KEY
from lfwrap.engine.locate import Engine
from lfwrap.errors import RunStateError
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile, catalog_gpu
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.request import PlanRequest
from lfwrap.plan.search import recipe_candidate
from lfwrap.plan.speed.calibration import Measurement, kind_key, model_key
from lfwrap.recipe.recipe import load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.record import Run
from lfwrap.run.launch.launch import load_launch
from lfwrap.strategy.planning import Machine, engine_versions, plan_request

_HINT = "Calibrate with a run of `lfwrap train` on a CUDA GPU that made at least three updates."


def measure_run(run: Run, engine: Engine) -> Measurement:
    """What the run measured, beside what is predicted of it without any measurement.

    Raises:
        RunStateError: the run measured nothing.
        PreflightError: its model's shapes are unknown.
    """
    found = _read_memory(run)
    request = _run_request(run, engine, found)
    candidate = recipe_candidate(request)
    return Measurement(
        device=str(found["device"]),
        versions=engine_versions(engine),
        model=model_key(request.model),
        kind=kind_key(candidate.settings),
        predicted_peak_bytes=candidate.memory.peak_allocated_bytes,
        peak_allocated_bytes=int(found["peak_allocated_bytes"]),
        peak_reserved_bytes=int(found["peak_reserved_bytes"]),
        outside_bytes=int(found["outside_bytes"]),
        predicted_update_s=candidate.speed.step_s if candidate.speed else None,
        update_s=found["update_s"],
        run=run.record.name,
    )


def _run_request(run: Run, engine: Engine, found: dict[str, Any]) -> PlanRequest:
    """The run as it was, asked of the planner: its own YAML, its longest batch and its typical one."""
    recipe = load_recipe(run.paths.engine_yaml, environ={})
    machine = Machine(_run_hardware(found), run.record.world_size)
    values = resolve_values(recipe, load_engine_facts(engine), machine.hardware, machine.world_size)
    request, launched = plan_request(values, machine, _run_rows(run)), load_launch(run.paths)
    return dataclasses.replace(
        request,
        zero_stage=run.record.zero_stage,
        values={**request.values, COMPILE_KEY: launched.compiled},
        speed="max" if launched.extended else request.speed,
    )


def _run_hardware(found: dict[str, Any]) -> HardwareProfile:
    """The GPU as it named itself, with the catalogue's rates where it stands there."""
    gpu = catalog_gpu(found["device"]) or Gpu(found["device"], int(found["device_bytes"]))
    gpu = dataclasses.replace(gpu, name=str(found["device"]), memory_bytes=int(found["device_bytes"]))
    return HardwareProfile("the run's", DeviceKind.CUDA, (gpu,))


def _run_rows(run: Run) -> RowLengths | None:
    """The longest batch that was tried; the plan's mean for the time of an update."""
    rows = _read_json(run.paths.plan).get("rows") or {}
    tried = [_read_json(rank.probe) for attempt in _attempts(run) for rank in attempt.ranks()]
    shape = next((found["shape"] for found in tried if "shape" in found), None)
    longest = int(shape[1]) if isinstance(shape, list) and len(shape) > 1 else rows.get("longest_tokens")
    return None if longest is None else RowLengths(longest, rows.get("mean_tokens"), rows.get("count"))


def _read_memory(run: Run) -> dict[str, Any]:
    """The last attempt's figures: of all ranks the largest."""
    for attempt in _attempts(run):
        ranks = [found for rank in attempt.ranks() if (found := _read_json(rank.memory))]
        if ranks:
            peaks = ("peak_allocated_bytes", "peak_reserved_bytes", "outside_bytes")
            return {**ranks[0], **{key: max(found[key] for found in ranks) for key in peaks}}
    raise RunStateError(f"{run.record.name}: no GPU memory was measured in it", hint=_HINT)


def _attempts(run: Run) -> list[AttemptPaths]:
    """The starts of the engine, the last first."""
    return [run.paths.attempt(number) for number in reversed(run.paths.attempt_numbers())]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
