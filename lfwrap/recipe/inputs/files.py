"""The files that a recipe's training reads: its data sets and its models, each with what identifies it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.keys import MODEL_KEY
from lfwrap.model.fingerprint import describe_file, describe_model, has_changed, model_folder
from lfwrap.recipe.recipe import split_names


def hash_inputs(values: Mapping[str, Any], cwd: Path, others: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """The files in a run's ``inputs.json``: what it is → path, size in bytes, SHA-256 (of weights: of samples of them).

    Args:
        values: the engine's values as rendered; they name the data sets and the model.
        cwd: the folder that relative paths count from.
        others: further files, such as the recipe: what it is → path.
    """
    files = dict(others)
    dataset_dir = cwd / Path(str(values.get("dataset_dir") or "data")).expanduser()
    registry = dataset_dir / "dataset_info.json"
    names = split_names(values.get("dataset")) + split_names(values.get("eval_dataset"))
    if registry.is_file():
        for name, path in _dataset_files(registry, names):
            files[f"dataset:{name}"] = path
    found = {what: describe_file(path) for what, path in files.items()}
    return found | _describe_models(values, cwd)


def _describe_models(values: Mapping[str, Any], cwd: Path) -> dict[str, dict[str, Any]]:
    """The files of the base model, and of adapters from which the training continues."""
    found: dict[str, dict[str, Any]] = {}
    name, revision = str(values.get(MODEL_KEY) or ""), values.get("model_revision")
    model = model_folder(name, cwd, str(revision) if revision else None) if name else None
    if model is not None:
        found |= describe_model(model, "model")
    for number, adapter in enumerate(split_names(values.get("adapter_name_or_path"))):
        folder = model_folder(adapter, cwd)
        if folder is not None:
            found |= describe_model(folder, f"adapter-{number}" if number else "adapter")
    return found


def _load_registry(registry: Path) -> dict[str, dict[str, Any]]:
    """The entries that are objects; none where the file can't be read, which the checks before a run report."""
    try:
        entries = orjson.loads(registry.read_bytes())
    except (OSError, ValueError):
        return {}
    return (
        {name: entry for name, entry in entries.items() if isinstance(entry, dict)} if isinstance(entries, dict) else {}
    )


def _dataset_files(registry: Path, names: tuple[str, ...]) -> list[tuple[str, Path]]:
    entries = _load_registry(registry)
    found = []
    for name in names:
        path = registry.parent / str(entries.get(name, {}).get("file_name") or "")
        if path.is_file():
            found.append((name, path))
        elif path != registry.parent and path.is_dir():
            found += [(f"{name}/{file.name}", file) for file in sorted(path.iterdir()) if file.is_file()]
    return found


def dataset_entries(values: Mapping[str, Any], cwd: Path) -> dict[str, Any]:
    """The registrations of the run's data sets: name → entry of ``dataset_info.json``."""
    entries = _load_registry(cwd / Path(str(values.get("dataset_dir") or "data")).expanduser() / "dataset_info.json")
    names = split_names(values.get("dataset")) + split_names(values.get("eval_dataset"))
    return {name: entries[name] for name in names if name in entries}


def changed_inputs(before: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The differences between ``inputs.json`` and the files as they are now, one sentence for each file."""
    changed = []
    for what, entry in before.items():
        path = Path(entry["path"])
        if not path.is_file():
            changed.append(f"{what}: {path} is gone")
        elif has_changed(entry):
            changed.append(f"{what}: {path} has changed")
    return changed
