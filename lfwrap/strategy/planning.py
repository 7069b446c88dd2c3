"""The input of the planner: the machine, what may be changed, and the measurements that correct its answer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from lfwrap.dirs import state_dir
from lfwrap.engine.keys import (
    ACCUMULATION_KEY,
    CUTOFF_KEY,
    DEFAULT_CUTOFF,
    DEFAULT_METHOD,
    DEFAULT_STAGE,
    DEFAULT_TARGET,
    LIGER_KEY,
    LOADERS_KEY,
    METHOD_KEY,
    MICRO_KEY,
)
from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import PlanError, PreflightError
from lfwrap.files import locked, write_json
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.model.hf_config import load_model_facts
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.inputs.train_settings import TrainSettings, read_target
from lfwrap.plan.request import STAGE_KEY, PlanRequest
from lfwrap.plan.speed.calibration import Measurement
from lfwrap.recipe.inputs.datasets import find_dataset_dir, measure_rows
from lfwrap.recipe.recipe import Recipe, Source
from lfwrap.recipe.values import ResolvedValues

_VERSIONED = ("torch", "transformers", "peft", "bitsandbytes", "liger-kernel", "deepspeed")

_STAGES = frozenset({"sft", "pt"})
_METHODS = frozenset({"lora", "full"})
_NEEDED_PACKAGES = {LIGER_KEY: "liger-kernel", STAGE_KEY: "deepspeed"}
_SHARED_MEMORY, _SHARED_MEMORY_BYTES = Path("/dev/shm"), 1 << 30  # noqa: S108 - looked at, not written to
_PLANNED_KINDS = frozenset({DeviceKind.CUDA, DeviceKind.ROCM})


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that a recipe is planned for.

    Attributes:
        hardware: the machine.
        world_size: processes.
        unavailable: keys that need a package or shared memory which is not there; no plan sets them.
        dataset_dir: where the recipe's data sets are registered; None where they can't be read here.
        measured: what the user's own runs measured on this kind of GPU.
        engine: the engine that would train there; None where there is none.
    """

    hardware: HardwareProfile
    world_size: int
    unavailable: frozenset[str] = frozenset()
    dataset_dir: Path | None = None
    measured: tuple[Measurement, ...] = ()
    engine: Engine | None = None


def find_machine(
    hardware: HardwareProfile, world_size: int, engine: Engine | None, dataset_dir: Path | None, *, is_here: bool
) -> Machine:
    """A machine with everything that is known of it.

    Args:
        hardware: its profile.
        world_size: processes.
        engine: the engine that would train there; None where there is none.
        dataset_dir: where the recipe's data sets are registered.
        is_here: whether it is this machine; nothing is known to be missing on others.

    Raises:
        PreflightError: the file of the user's own measurements can't be read.
    """
    gpu = hardware.smallest_gpu
    measured = load_measurements(gpu.name if gpu else None, engine)
    unavailable = unavailable_keys(engine if is_here else None)
    if is_here and not _has_shared_memory():
        unavailable |= {LOADERS_KEY}
    return Machine(hardware, world_size, unavailable, dataset_dir, measured, engine)


def dataset_folder(recipe: Recipe, cwd: Path | None = None) -> Path | None:
    """Where the recipe's data sets are registered, seen from a folder; None where nothing local registers them."""
    found = find_dataset_dir(recipe, cwd or Path.cwd()).path
    return Path(found) if found else None


def unavailable_keys(engine: Engine | None) -> frozenset[str]:
    """Keys that need a package which is not installed beside the engine; none where there is no engine to ask."""
    if engine is None:
        return frozenset()
    return frozenset(key for key, package in _NEEDED_PACKAGES.items() if not package_version(engine, package))


def _has_shared_memory() -> bool:
    """Whether loader processes can hand over packs with their masks; a container has 64 MiB unless it is given more."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except (OSError, AttributeError):  # no such folder, or no such question
        return False
    return found.f_bavail * found.f_frsize >= _SHARED_MEMORY_BYTES


def has_planned_gpus(hardware: HardwareProfile) -> bool:
    """Whether it trains on GPUs whose memory decides what fits."""
    return hardware.kind in _PLANNED_KINDS


def may_change(request: PlanRequest) -> bool:
    """Whether the recipe leaves anything to the plan."""
    return request.effective_batch is not None and request.speed != "none"


def plan_request(values: ResolvedValues, machine: Machine, rows: RowLengths | None = None) -> PlanRequest:
    """The planner's question: what the recipe says, and what may be changed about it.

    Args:
        values: the recipe's values on the machine.
        machine: where it will run.
        rows: lengths of the data's rows; None measures them, and where that can't be done plans for the cutoff.

    Raises:
        PreflightError: the model's shapes are unknown, or the training is of a kind that is not modelled.
        PlanError: micro-batch or accumulation make no sense.
    """
    recipe, engine, batch = values.recipe, values.engine, values.batch
    if batch is None:
        raise PlanError("Micro-batch and accumulation must be whole numbers from 1.", hint="Correct them.")
    _require_known_kind(engine.get("stage", DEFAULT_STAGE), engine.get(METHOD_KEY, DEFAULT_METHOD))
    model = load_planned_model(recipe)
    _require_targets(model, engine.get(METHOD_KEY, DEFAULT_METHOD), engine.get("lora_target", DEFAULT_TARGET))
    cutoff = int(engine.get(CUTOFF_KEY) or DEFAULT_CUTOFF)
    rows = rows or measure_rows(recipe, machine.dataset_dir, str(engine.get("template", "")))
    return PlanRequest(
        model=model,
        values=engine,
        hardware=machine.hardware,
        world_size=values.world_size,
        rows=(rows or RowLengths(cutoff)).cut(cutoff),
        batch=batch,
        zero_stage=values.zero_stage,
        offload=recipe.intent.offload,
        effective_batch=_effective_batch(recipe, batch),
        speed=recipe.intent.speed,
        pinned=_pinned_keys(recipe) | machine.unavailable,
        locked=frozenset(key for key, source in recipe.sources.items() if source is Source.COMMAND_LINE),
        micro_limit=_micro_limit(recipe),
        open_stages=_open_stages(values, machine),
        measured=machine.measured,
    )


def _open_stages(values: ResolvedValues, machine: Machine) -> tuple[int, ...]:
    """ZeRO stages that the plan may choose: where the recipe names none, and there are GPUs to share between."""
    recipe, engine = values.recipe, values.engine
    is_open = recipe.has_intent and recipe.intent.zero_stage is None and recipe.intent.speed in {"auto", "max"}
    is_plain = not engine.get("deepspeed") and not engine.get("fsdp")
    on_gpus = has_planned_gpus(machine.hardware) and values.world_size > 1
    if not (is_open and is_plain and on_gpus) or STAGE_KEY in machine.unavailable:
        return ()
    return (2,) if engine.get("quantization_bit") else (2, 3)


def _effective_batch(recipe: Recipe, batch: BatchPlan) -> int | None:
    """Rows that an update will see; with a block that names none, what the engine's keys make."""
    if not recipe.has_intent:
        return None
    return recipe.effective_batch or batch.effective


def _pinned_keys(recipe: Recipe) -> frozenset[str]:
    """Keys that stay as they are; the recipe's accumulation gives way, the command line's does not."""
    pinned = set(recipe.sources)
    if recipe.sources.get(ACCUMULATION_KEY) is not Source.COMMAND_LINE:
        pinned.discard(ACCUMULATION_KEY)
    return frozenset(pinned)


def _micro_limit(recipe: Recipe) -> int | None:
    """The largest micro-batch to try: the recipe's own; None where the command line fixes it, or nothing limits it."""
    source = recipe.sources.get(MICRO_KEY)
    if source is Source.COMMAND_LINE:
        return None
    own = recipe.engine_values.get(MICRO_KEY)
    return int(own) if source is not None and own else recipe.intent.max_micro_batch


def _require_known_kind(stage: str, method: str) -> None:
    if stage not in _STAGES or method not in _METHODS:
        raise PreflightError(
            f"stage: {stage}, finetuning_type: {method}: its memory is not modelled.",
            hint=f"lfwrap plan knows the stages {' and '.join(sorted(_STAGES))} with lora and full.",
        )


def _require_targets(model: ModelFacts, method: str, target: object) -> None:
    names = read_target(target)
    if method == "lora" and not TrainSettings("lora", 1, 1, target=names).targets(model):
        known = ", ".join(linear.name for linear in model.linears)
        raise PreflightError(
            f"lora_target: {names}: not a linear layer of {model.name}.", hint=f"It has {known}; or all."
        )


def load_planned_model(recipe: Recipe) -> ModelFacts:
    """The shapes of the recipe's model.

    Raises:
        PreflightError: they are not known, or the checkpoint is quantised already.
    """
    facts = load_model_facts(recipe.model) if recipe.model else None
    if facts is None:
        raise PreflightError(
            f"{recipe.model or 'No model'}: its shapes are not known.",
            hint="Name the folder of a downloaded model with model_name_or_path=DIR, or a model of the catalogue.",
        )
    if facts.is_quantized:
        raise PreflightError(
            f"{facts.name}: a checkpoint that is quantised already is not modelled.",
            hint="Plan with its 16-bit original and quantization_bit=4.",
        )
    return facts


def measurements_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's measurements are kept, in lfwrap's state."""
    return state_dir(environ) / "measurements.json"


def engine_versions(engine: Engine) -> str:
    """The versions that decide memory and pace, as one text."""
    found = {name: package_version(engine, name) for name in _VERSIONED}
    return " ".join([f"llamafactory {engine.version}", *(f"{name} {version}" for name, version in found.items())])


def load_measurements(
    device: str | None, engine: Engine | None, environ: Mapping[str, str] = os.environ
) -> tuple[Measurement, ...]:
    """What was measured on this kind of GPU with this engine, oldest first; nothing where there is no such file.

    Raises:
        PreflightError: the file can't be read.
    """
    path = measurements_file(environ)
    if device is None or engine is None or not path.is_file():
        return ()
    versions = engine_versions(engine)
    return tuple(each for each in _read(path) if each.device == device and each.versions == versions)


def add_measurement(measurement: Measurement, environ: Mapping[str, str] = os.environ) -> Path:
    """Put a measurement on file, in place of an earlier one of the same run; returns the file.

    Raises:
        PreflightError: the file that is there can't be read.
    """
    path = measurements_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        kept = [each for each in (_read(path) if path.is_file() else []) if each.run != measurement.run]
        write_json(path, {"schema": "lfwrap.measurements/1", "runs": [each.to_json() for each in (*kept, measurement)]})
    return path


def _read(path: Path) -> list[Measurement]:
    try:
        return [Measurement(**run) for run in orjson.loads(path.read_bytes())["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"{path}: can't be read: {error}", hint="Delete it, and calibrate again with `lfwrap plan --calibrate RUN`."
        ) from error
