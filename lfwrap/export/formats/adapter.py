"""The adapter alone, with a config that another machine understands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from lfwrap.errors import PreflightError
from lfwrap.files import sha256_file, write_json
from lfwrap.inference.target import Target, load_facts_json
from lfwrap.model.hf_config import find_config
from lfwrap.run.folder.training_note import write_note

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Where the training stood, not what it made.
_TRAINING_KEYS = ("revision", "runtime_config", "megatron_config", "megatron_core")


def check_adapter(target: Target) -> None:
    """See that the adapter says everything by itself.

    Raises:
        PreflightError: there is none, or others are folded in below it.
    """
    if target.adapter is None:
        raise PreflightError(f"{target.name}: has no adapter", hint="--format merged rewrites a whole model.")
    if target.prior_adapters:
        raise PreflightError(
            f"{target.name}: was trained on top of {', '.join(target.prior_adapters)}: without them it means nothing",
            hint="--format merged folds all of them in.",
        )


def name_base(target: Target, wanted: str | None) -> str:
    """The base's name for others: as wanted, else a hub id that is known for it, else its folder."""
    recorded = None
    config = find_config(target.model)
    if config is not None:
        recorded = load_facts_json(config).get("_name_or_path")
    for name in (wanted, target.model, target.stated_base, recorded):
        if isinstance(name, str) and _HUB_ID.match(name) and not Path(name).exists():
            return name
    return wanted or target.model


def is_hub_id(name: str) -> bool:
    """Whether a model's name is one of a hub, not a folder."""
    return bool(_HUB_ID.match(name)) and not Path(name).exists()


def write_adapter(target: Target, folder: Path, base: str) -> tuple[str, ...]:
    """Copy weights and config, the base named ``base``; returns what one should know.

    Raises:
        PreflightError: what was copied is not what was there.
    """
    assert target.adapter is not None  # noqa: S101 - the caller has seen to it
    folder.mkdir(parents=True, exist_ok=True)
    for name in _WEIGHTS:
        source = target.adapter / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
            if sha256_file(source) != sha256_file(folder / name):
                raise PreflightError(f"{folder / name}: not the same bytes as {source}", hint="Is the disk sound?")
    config: dict[str, Any] = load_facts_json(target.adapter / "adapter_config.json")
    kept = {key: value for key, value in config.items() if key not in _TRAINING_KEYS}
    write_json(folder / "adapter_config.json", kept | {"base_model_name_or_path": base, "inference_mode": True})
    write_note(folder, {"template": target.template, **target.options, **target.quantization})
    if is_hub_id(base):
        return ()
    return (
        f"the adapter names its base as {base}, a folder of this machine: --base-name ORG/MODEL names it for others",
    )
