"""Is the model there, whole, and of a size for this machine?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.keys import MODEL_KEY
from lfwrap.errors import Finding, LfwrapError, Severity
from lfwrap.model.folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, TOKENIZERS, AdapterFolder, ModelFolder
from lfwrap.model.hf_config import has_hub_form, load_model_facts
from lfwrap.recipe.recipe import split_names
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.units import format_count

LARGEST_ON_CPU = 1_000_000_000
"""Parameters above which training on a CPU is refused: hours a step, and a mistake nearly always."""

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_OTHER_HUBS = ("USE_MODELSCOPE_HUB", "USE_OPENMIND_HUB")


def check_model(context: PreflightContext) -> Iterator[Finding]:
    """Findings on the base model, and on an adapter to go on from."""
    model = context.values.get(MODEL_KEY)
    if not isinstance(model, str) or not model:  # the recipe's own rules say so
        return
    folder = context.resolve(model)
    yield from _check_folder(context, model, folder) if folder.is_dir() else _check_hub_id(context, model)
    yield from _check_size(context, model, folder)
    for name in split_names(context.values.get("adapter_name_or_path")):
        yield from _check_adapter(context, name)


def _check_folder(context: PreflightContext, model: str, folder: Path) -> Iterator[Finding]:
    problems: list[str] = []
    config = _read_config(folder / "config.json")
    if config is None:
        problems.append(
            "config.json is missing" if not (folder / "config.json").exists() else "config.json is not JSON"
        )
    problems += ModelFolder(folder).weight_problems()
    if not ModelFolder(folder).has_tokenizer():
        problems.append(f"there is no tokenizer ({', '.join(TOKENIZERS[:3])} …)")
    for problem in problems:
        yield context.finding(
            "model-incomplete",
            MODEL_KEY,
            f"{model}: {problem}.",
            "Download the model again, completely, or name another folder.",
        )


def _read_config(path: Path) -> dict[str, Any] | None:
    try:
        config = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _check_hub_id(context: PreflightContext, model: str) -> Iterator[Finding]:
    if any(context.environ.get(name, "").lower() in {"1", "true"} for name in _OTHER_HUBS):
        return
    if not has_hub_form(model):
        yield context.finding(
            "model-not-found",
            MODEL_KEY,
            f"{model}: neither a folder that exists nor a hub id (owner/name).",
            "Give a folder with config.json, or a hub id such as Qwen/Qwen2.5-7B-Instruct.",
        )
        return
    revision = context.values.get("model_revision")
    if context.is_dry or ModelFolder.find(model, revision=revision if isinstance(revision, str) else None):
        return
    offline = next((name for name in _OFFLINE if context.environ.get(name, "").lower() in {"1", "true", "yes"}), None)
    if offline:
        yield context.finding(
            "model-offline",
            MODEL_KEY,
            f"{model}: not in the local hub cache, and {offline} forbids downloading it.",
            f"Download it where there is a network (`hf download {model}`), or give a folder, or unset {offline}.",
        )
    else:
        yield context.finding(
            "model-download",
            MODEL_KEY,
            f"{model}: will be downloaded from the hub.",
            "Give a folder to use a model that is here.",
            Severity.INFO,
        )


def _check_size(context: PreflightContext, model: str, folder: Path) -> Iterator[Finding]:
    if not context.hardware.is_cpu or context.allow_large_on_cpu:
        return
    parameters = model_parameters(model, folder)
    if parameters <= LARGEST_ON_CPU:
        return
    yield context.finding(
        "model-too-large-for-cpu",
        MODEL_KEY,
        f"{model} has {format_count(parameters)} parameters: on a CPU an update would take minutes to hours.",
        "Use a smaller model (recipes/smoke.yaml trains 135M), train on a host with a GPU, look at what would run on "
        "one with --dry-run --hardware h100-80gb, or insist with --force.",
    )


def model_parameters(model: str, folder: Path) -> int:
    """Parameters of a model by its shapes, else by its weights' headers; 0 when nothing is known of it."""
    try:
        facts = load_model_facts(str(folder) if folder.is_dir() else model)
    except LfwrapError:
        facts = None
    if facts is not None:
        return facts.parameters
    return ModelFolder(folder).parameters()


def _check_adapter(context: PreflightContext, name: str) -> Iterator[Finding]:
    folder = context.resolve(name)
    if not folder.is_dir():
        if has_hub_form(name):
            return
        problems = ["no such folder"]
    else:
        problems = AdapterFolder(folder).problems()
    for problem in problems:
        yield context.finding(
            "adapter-incomplete",
            "adapter_name_or_path",
            f"{name}: {problem}.",
            f"Name the folder that holds {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}.",
        )
