"""What a result needs to be loaded and prompted as it was trained, noted beside its weights.

A checkpoint or adapter that is copied out of its run has neither record nor YAML: the engine writes no word of the
template there, and with another one the model answers worse without a sign of why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import PreflightError
from lfwrap.files import write_json
from lfwrap.model.folder import FolderKind, folder_kind

NOTE = "lfwrap-training.json"

# What a recipe says that also shapes how the model is loaded and prompted afterwards.
CARRIED_KEYS = (
    "add_special_tokens",
    "add_tokens",
    "default_system",
    "enable_thinking",
    "flash_attn",
    "model_revision",
    "new_special_tokens",
    "resize_vocab",
    "rope_scaling",
    "split_special_tokens",
    "tool_format",
    "trust_remote_code",
    "use_fast_tokenizer",
)
QUANTIZATION_KEYS = ("quantization_bit", "quantization_method", "quantization_type", "double_quantization")
_ADAPTER_KEYS = ("adapter_name_or_path", "create_new_adapter")
# A folder may come from anybody: only a person lets a model's own code run.
_NEVER_NOTED = {"trust_remote_code"}
_NOTED = tuple(
    key for key in ("template", *CARRIED_KEYS, *QUANTIZATION_KEYS, *_ADAPTER_KEYS) if key not in _NEVER_NOTED
)


def write_note(folder: Path, values: Mapping[str, Any]) -> None:
    """Note the engine's values that matter in a folder. Raises PreflightError when it can't be written."""
    settings = {key: values[key] for key in _NOTED if values.get(key) is not None}
    write_json(folder / NOTE, {"schema": "lfwrap.training/1", "settings": settings})


def write_notes(folders: Iterable[Path], values: Mapping[str, Any]) -> None:
    """Write the note into each folder that holds an adapter or a model; a full disk leaves it out."""
    for folder in folders:
        if folder_kind(folder) is not FolderKind.OTHER:
            with contextlib.suppress(PreflightError, OSError):
                write_note(folder, values)


def read_note(folder: Path) -> dict[str, Any]:
    """The values that are noted in a folder; empty where there is no note, or something else in its file."""
    try:
        settings = orjson.loads((folder / NOTE).read_bytes())["settings"]
        return {key: settings[key] for key in _NOTED if key in settings}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return {}
