"""Write the merged weights: tensor by tensor for a plain LoRA adapter, through the engine's own export for the rest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.commands import run_logged
from lfwrap.engine.compat import KNOWN_ARCHITECTURES
from lfwrap.engine.contract import MergeJob
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.errors import PreflightError
from lfwrap.export.files import write_model_config
from lfwrap.export.options import ExportOptions
from lfwrap.files import write_text
from lfwrap.inference.target import Target
from lfwrap.model.folder import AdapterFolder, ModelFolder
from lfwrap.yaml_files import dump_yaml

_GB = 10**9
# Options of a training under which the model is not the base's tensors plus the adapter.
_RESHAPING_OPTIONS = ("add_special_tokens", "add_tokens", "new_special_tokens", "resize_vocab", "rope_scaling")
_PLAIN_LORA: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (False, None),
    "modules_to_save": (None, []),
    "bias": ("none", None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "target_parameters": (None, []),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, []),
    "use_qalora": (False, None),
}


@dataclass(frozen=True, slots=True)
class Merged:
    """How merged weights were written.

    Attributes:
        by: ``tensor by tensor``, or ``llamafactory-cli export``.
        seconds: from the start of the child to the last byte.
        timing: where they went: ``start_s`` until the child works and ``wall_s`` of its work; ``read_s``, ``merge_s``
            and ``write_s`` are summed over its ``processes``, which had ``user_s`` and ``system_s`` of the cores and
            ``minor_faults`` new pages; ``sync_s`` is the wait for the disk at the end.
    """

    by: str
    seconds: float
    timing: Mapping[str, float]


def why_not_streamed(target: Target) -> str | None:
    """Why an adapter can't be merged tensor by tensor; None when it can."""
    adapter, base = target.adapter_folder, target.base
    if adapter is None or base is None:
        return "no adapter on a base in a folder"
    values = base.config()
    if values.get("model_type") not in KNOWN_ARCHITECTURES or target.options.get("trust_remote_code"):
        return f"model type {values.get('model_type')}"
    if target.prior_adapters or any(target.options.get(key) for key in _RESHAPING_OPTIONS):
        return "the training changed the base"
    config = adapter.config()
    odd = [key for key, plain in _PLAIN_LORA.items() if key in config and config[key] not in plain]
    if odd or not {"r", "lora_alpha", "peft_type"} <= config.keys():
        return f"not a plain LoRA adapter ({', '.join(odd) or f'incomplete {adapter.config_file.name}'})"
    return _unmatched(adapter, base, tied=bool(values.get("tie_word_embeddings")))


def _unmatched(adapter: AdapterFolder, base: ModelFolder, *, tied: bool) -> str | None:
    known = base.shapes()
    if not adapter.weights_file.is_file() or not known:
        return "weights that are not safetensors"
    for name in adapter.shapes():
        module, found, matrix = name.removeprefix("base_model.model.").partition(".lora_")
        if not found or matrix not in {"A.weight", "B.weight"} or f"{module}.weight" not in known:
            return f"{name} has no counterpart in the base's files"
        if tied and module in {"lm_head", "model.embed_tokens"}:
            return f"{module} is tied to another tensor"
    return None


def write_merged(engine: Engine, target: Target, stage: Path, options: ExportOptions, scratch: Path) -> Merged:
    """Write weights and configs into ``stage`` (made here).

    Raises:
        EngineError: the engine failed, or the disk is full.
        PreflightError: it left something out.
    """
    started_s = time.monotonic()
    streamed = options.merger == "auto" and options.device == "cpu" and why_not_streamed(target) is None
    timing: dict[str, float] = {}
    if streamed:
        timing = _stream(engine, target, stage, options)
    else:
        _export(engine, merge_arguments(target, stage, options), scratch)
    seconds = time.monotonic() - started_s
    if streamed:
        timing["start_s"] = round(seconds - timing["wall_s"], 2)
    return Merged("tensor by tensor" if streamed else "llamafactory-cli export", seconds, timing)


def _stream(engine: Engine, target: Target, stage: Path, options: ExportOptions) -> dict[str, float]:
    environment = engine_environment(model_is_local=True, runs_model=False)
    with WorkerProcess(engine.python, "merge_adapter", environment=environment) as worker:
        stage.mkdir(parents=True)
        write_model_config(target, stage, options.merged_dtype)
        config = ModelFolder(stage).config()
        job: MergeJob = {
            "base": target.model,
            "adapter": str(target.adapter),
            "out": str(stage),
            "dtype": options.merged_dtype,
            "shard_bytes": options.shard_gb * _GB,
            "skip": ["lm_head.weight"] if config.get("tie_word_embeddings") else [],
        }
        worker.send(job)
        timing: dict[str, float] = worker.receive()["timing"]
    return timing


def merge_arguments(target: Target, stage: Path, options: ExportOptions) -> dict[str, Any]:
    """The engine's YAML for the merge. The base is never quantised here: into a quantised one nothing can be merged."""
    return target.engine_arguments(quantized=False, adapters=target.adapters) | {
        "infer_dtype": options.merged_dtype,
        "export_dir": str(stage),
        "export_size": options.shard_gb,
        "export_device": options.device,
        "export_legacy_format": False,
    }


def _export(engine: Engine, arguments: dict[str, Any], scratch: Path) -> None:
    recipe = scratch / "export.yaml"
    write_text(recipe, dump_yaml(arguments))
    environment = engine_environment(model_is_local=Path(arguments["model_name_or_path"]).is_dir())
    run_logged(
        [str(engine.cli), "export", str(recipe)], scratch, environment=environment, what="llamafactory-cli export"
    )


def check_model_folder(folder: Path) -> None:
    """See that what was written is a whole model. Raises PreflightError with everything that is missing."""
    model = ModelFolder(folder)
    lacking = [*model.lacking(), *(f"shard {shard}" for shard in model.lacking_shards())]
    if lacking:
        raise PreflightError(
            f"the engine wrote no {', no '.join(lacking)}", hint="Is the disk full? `lfwrap doctor` shows it."
        )


def move_into(source: Path, folder: Path) -> None:
    """Move everything of one folder into another on the same disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(source)
