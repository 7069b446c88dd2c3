"""Engine, packages, GPUs, disk and paths."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.keys import DEFAULT_METHOD, DEFAULT_QUANTIZATION, METHOD_KEY, MODEL_KEY
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.versions import refused_versions
from lfwrap.errors import Finding, LfwrapError, Severity
from lfwrap.hardware.profile import DeviceKind
from lfwrap.masking import is_secret
from lfwrap.model.hf_config import load_model_facts
from lfwrap.model.shapes import ModelFacts
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.trackers import check_trackers
from lfwrap.units import GIB, MIB, format_bytes, plural

_LOGS_BYTES = 64 * MIB
_UNKNOWN_CHECKPOINT_BYTES = GIB // 2
_UNLIMITED_CHECKPOINTS = 10
# Adam keeps two numbers a trained parameter in fp32; an adapter is saved in fp32, a full model in 16 bits.
_OPTIMIZER_BYTES = 8
_ADAPTER_BYTES = 4
_MODEL_BYTES = 2

# A key of the engine → the package it needs and the extra of lfwrap that brings it.
_NEEDS = (
    ("deepspeed", "deepspeed", "deepspeed"),
    ("enable_liger_kernel", "liger-kernel", "speed"),
    ("use_unsloth", "unsloth", None),
    ("use_galore", "galore-torch", None),
    ("use_apollo", "apollo-torch", None),
    ("use_badam", "badam", None),
    ("use_adam_mini", "adam-mini", None),
    ("plot_loss", "matplotlib", None),
)


def preflight_machine(context: PreflightContext) -> Iterator[Finding]:
    """Findings on everything around recipe, data and model."""
    yield from _check_paths(context)
    yield from _check_resume(context)
    yield from _check_secrets(context)
    if context.engine is not None:
        yield from _check_versions(context.engine)
        yield from _check_packages(context, context.engine)
        yield from check_trackers(context, context.engine)
    if not context.is_dry:
        yield from _check_gpus(context)
        yield from _check_disk(context)


def _check_versions(engine: Engine) -> Iterator[Finding]:
    if engine.version != SUPPORTED_VERSION:
        yield Finding(
            "engine-version",
            f"LLaMA-Factory {engine.version}: lfwrap is tested with {SUPPORTED_VERSION}.",
            Severity.WARNING,
            hint=f"{engine.python} -m pip install llamafactory=={SUPPORTED_VERSION}",
        )
    for refused in refused_versions(engine):
        missing = "is not installed" in refused
        yield Finding(
            "package-version",
            f"{refused}: the engine would refuse to start.",
            Severity.ERROR if missing else Severity.WARNING,
            hint="Install a version in that range; until then lfwrap starts it with DISABLE_VERSION_CHECK=1."
            if not missing
            else f"{engine.python} -m pip install 'lfwrap[train]'",
        )


def _check_packages(context: PreflightContext, engine: Engine) -> Iterator[Finding]:
    needs = [(key, package, extra) for key, package, extra in _NEEDS if context.values.get(key)]
    if context.values.get("quantization_bit") and context.values.get("quantization_method", DEFAULT_QUANTIZATION) in {
        "bnb",
        "bitsandbytes",
    }:
        needs.append(("quantization_bit", "bitsandbytes", "qlora"))
    for key, package, extra in needs:
        if package_version(engine, package) is None:
            wanted = f"'lfwrap[{extra}]'" if extra else package
            yield context.finding(
                "missing-package",
                key,
                f"{key}: needs the package {package}, which is not installed.",
                f"{engine.python} -m pip install {wanted}",
            )


def _check_gpus(context: PreflightContext) -> Iterator[Finding]:
    """A profile from the catalogue may describe another machine than this one."""
    if context.hardware.kind is not DeviceKind.CUDA or context.hardware.name == "auto":
        return
    from lfwrap.hardware.load import load_hardware

    here = load_hardware("auto")
    if len(here.gpus) < context.world_size:
        yield Finding(
            "no-such-gpus",
            f"--hardware {context.hardware.name} with {plural(context.world_size, 'GPU')}: this machine has"
            f" {len(here.gpus) or 'none'} that can be seen.",
            hint="Add --dry-run to look at what would run there, or leave --hardware out to train on this machine.",
        )


def _check_paths(context: PreflightContext) -> Iterator[Finding]:
    """Launchers and the engine split their arguments at white space."""
    if not context.splits_at_spaces:
        return
    paths = {"--runs-dir": context.runs_dir.absolute()}
    if context.engine is not None:
        paths["the engine"] = context.engine.package
    for what, path in paths.items():
        if re.search(r"\s", str(path)):
            yield Finding(
                "space-in-path",
                f"{what}: {str(path)!r} has white space in it; runs of several processes break on it.",
                hint="Choose a folder without spaces, such as --runs-dir /tmp/runs.",
            )


def _check_resume(context: PreflightContext) -> Iterator[Finding]:
    checkpoint = context.values.get("resume_from_checkpoint")
    if isinstance(checkpoint, str) and not context.resolve(checkpoint).is_dir():
        yield context.finding(
            "no-checkpoint",
            "resume_from_checkpoint",
            f"{checkpoint}: no such checkpoint folder.",
            "`lfwrap runs resume RUN` finds the newest whole checkpoint of a run by itself.",
        )


def _check_secrets(context: PreflightContext) -> Iterator[Finding]:
    """The YAML and the record of a run are kept and passed on."""
    for key, value in context.values.items():
        if is_secret(key) and isinstance(value, str) and value:
            yield context.finding(
                "secret-in-recipe",
                key,
                f"{key}: a secret would be written into the run's files.",
                "Take it out and set it in the environment, such as HF_TOKEN.",
            )


def _check_disk(context: PreflightContext) -> Iterator[Finding]:
    needed_bytes = estimate_disk_bytes(context)
    folder = _nearest_folder(context.runs_dir.absolute())
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        yield Finding(
            "runs-dir", f"{folder}: can't be read: {error.strerror}.", hint="Name another folder with --runs-dir."
        )
        return
    if free_bytes < needed_bytes:
        yield Finding(
            "disk-space",
            f"{folder}: {format_bytes(free_bytes)} free, the run may write {format_bytes(needed_bytes)}.",
            hint="Free some space, name another --runs-dir, or keep fewer checkpoints (save_total_limit=1).",
        )


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def estimate_disk_bytes(context: PreflightContext) -> int:
    """What a run may write at most: the result, its checkpoints with the optimizer's state, the logs."""
    limit = context.values.get("save_total_limit")
    kept = limit if isinstance(limit, int) and limit > 0 else _UNLIMITED_CHECKPOINTS
    if str(context.values.get("save_strategy", "steps")) == "no":
        kept = 0
    result_bytes, checkpoint_bytes = _saved_bytes(context)
    # The new checkpoint is written before the oldest is deleted.
    return _LOGS_BYTES + result_bytes + checkpoint_bytes * (kept + 1 if kept else 0)


def _saved_bytes(context: PreflightContext) -> tuple[int, int]:
    """Bytes of the result and of one checkpoint."""
    model = str(context.values.get(MODEL_KEY) or "")
    folder = context.resolve(model)
    try:
        facts = load_model_facts(str(folder) if folder.is_dir() else model)
    except LfwrapError:
        facts = None
    if facts is None:
        return _UNKNOWN_CHECKPOINT_BYTES, _UNKNOWN_CHECKPOINT_BYTES
    if context.values.get(METHOD_KEY, DEFAULT_METHOD) in {"lora", "oft"}:
        trained = _lora_parameters(facts, context.values.get("lora_rank"))
        weights_bytes = trained * _ADAPTER_BYTES
    else:
        trained = facts.parameters
        weights_bytes = trained * _MODEL_BYTES
    return weights_bytes, weights_bytes + trained * _OPTIMIZER_BYTES


def _lora_parameters(facts: ModelFacts, rank: object) -> int:
    per_rank = sum(linear.in_features + linear.out_features for linear in facts.linears) * facts.num_layers
    return (rank if isinstance(rank, int) else 8) * per_rank
