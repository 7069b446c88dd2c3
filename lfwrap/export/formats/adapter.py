"""The adapter alone, with a config that another machine understands."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.errors import PreflightError
from lfwrap.export.job import ExportFormat, ExportJob
from lfwrap.export.options import ExportOptions
from lfwrap.files import sha256_file, write_json
from lfwrap.inference.target import Target
from lfwrap.model.folder import AdapterFolder
from lfwrap.model.hf_config import has_hub_form
from lfwrap.model.training_note import write_note

_SIZE_BYTES = 512 << 20  # more than LoRA matrices of a high rank take
# Where the training stood, not what it made.
_TRAINING_KEYS = ("revision", "runtime_config", "megatron_config", "megatron_core")


def check_adapter(target: Target) -> None:
    """See that the adapter says everything by itself.

    Raises:
        PreflightError: the target has no adapter, or others are folded in below it.
    """
    if target.adapter is None:
        raise PreflightError(f"{target.name}: has no adapter", hint="--format merged rewrites a whole model.")
    if target.prior_adapters:
        raise PreflightError(
            f"{target.name}: was trained on top of {', '.join(target.prior_adapters)}: it is useless without them",
            hint="--format merged folds all of them in.",
        )


def name_base(target: Target, wanted: str | None) -> str:
    """The base's name for others: as wanted, else a hub id that is known for it, else its folder."""
    recorded = target.base.config().get("_name_or_path") if target.base else None
    for name in (wanted, target.model, target.stated_base, recorded):
        if isinstance(name, str) and is_hub_id(name):
            return name
    return wanted or target.model


def is_hub_id(name: str) -> bool:
    """Whether a model's name is one of a hub, not a folder."""
    return has_hub_form(name) and not Path(name).exists()


def _make(job: ExportJob) -> dict[str, Any]:
    order, folder = job.order, job.folder("adapter")
    base = name_base(order.target, order.options.base_name)
    job.record.notes += write_adapter(order.target, folder, base)
    for path in job.files().folder.iterdir():
        shutil.copyfile(path, folder / path.name)
    job.record.summary.append("adapter: the weights are, byte for byte, those that were trained")
    return {"folder": job.relative(folder), "base_model": base}


def write_adapter(target: Target, folder: Path, base: str) -> tuple[str, ...]:
    """Copy weights and config, the base named ``base``; returns what one should know.

    Raises:
        PreflightError: what was copied is not what was there.
    """
    trained, copied = target.adapter_folder, AdapterFolder(folder)
    assert trained is not None  # noqa: S101 - the caller has seen to it
    folder.mkdir(parents=True, exist_ok=True)
    for source in trained.weight_files():
        copy = folder / source.name
        shutil.copyfile(source, copy)
        if sha256_file(source) != sha256_file(copy):
            raise PreflightError(f"{copy}: not the same bytes as {source}", hint="Is the disk sound?")
    kept = {key: value for key, value in trained.config().items() if key not in _TRAINING_KEYS}
    write_json(copied.config_file, kept | {"base_model_name_or_path": base, "inference_mode": True})
    write_note(folder, {"template": target.template, **target.options, **target.quantization})
    if is_hub_id(base):
        return ()
    return (
        f"the adapter names its base as {base}, a folder of this machine: --base-name ORG/MODEL names it for others",
    )


def _check(_: Engine, target: Target, __: ExportOptions) -> None:
    check_adapter(target)


FORMAT = ExportFormat("adapter", _make, check=_check, size_bytes=lambda *_: _SIZE_BYTES, needs_merge=False)
