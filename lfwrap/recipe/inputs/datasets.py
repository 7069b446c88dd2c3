"""The folder whose dataset_info.json registers a recipe's data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lfwrap.bundled import bundled_path
from lfwrap.errors import Finding
from lfwrap.recipe.keys import place
from lfwrap.recipe.recipe import Recipe
from lfwrap.recipe.rules.data import is_path
from lfwrap.suggest import did_you_mean

REGISTRY = "dataset_info.json"
# Values of dataset_dir that are not a folder: the engine loads from a hub.
_REMOTE = ("ONLINE", "REMOTE:")


@dataclass(frozen=True, slots=True)
class DatasetDir:
    """The folder of a recipe's data sets, and how it was found.

    Attributes:
        path: the folder, absolute; None when the engine loads from a hub, or when nothing was found.
        reason: how it was found, a sentence.
        findings: problems: a data set that is not registered, or a registry that can't be read.
    """

    path: str | None
    reason: str
    findings: tuple[Finding, ...] = ()


def find_dataset_dir(recipe: Recipe, cwd: Path) -> DatasetDir:
    """The folder to hand to the engine as ``dataset_dir``, absolute, so that the working directory does not matter.

    A ``dataset_dir`` of the recipe or the command line is taken as it is; a relative one is looked for in ``cwd``, then
    beside the recipe, then among the files that ship with lfwrap. Without one, the first of these folders that
    registers all of the recipe's data sets is taken: ``./data``, ``.``, the recipe's folder, its ``data``, the bundled
    ``data``.
    """
    own = recipe.engine_values.get("dataset_dir")
    if isinstance(own, str) and own.startswith(_REMOTE):
        return DatasetDir(None, f"dataset_dir: {own} loads from a hub.")
    if isinstance(own, str) and own:
        folders = [cwd / Path(own).expanduser(), recipe.path.parent / own, bundled_path(own)]
        folder = next((each for each in folders if (each / REGISTRY).is_file()), folders[0])
        return _checked(recipe, folder.absolute(), "The recipe's own dataset_dir.")
    folders = [cwd / "data", cwd, recipe.path.parent, recipe.path.parent / "data", bundled_path("data")]
    names = set(recipe.datasets)
    for folder in folders:
        if names and names <= set(_registered(folder)):
            return DatasetDir(str(folder.absolute()), f"The first folder that registers {', '.join(sorted(names))}.")
    if not names:
        return DatasetDir(None, "The recipe names no data set.")
    return DatasetDir(None, "Registered nowhere.", tuple(_unregistered(recipe, folders)))


def _checked(recipe: Recipe, folder: Path, reason: str) -> DatasetDir:
    """The folder that the recipe names, with findings about it."""
    if not (folder / REGISTRY).is_file():
        finding = Finding(
            "dataset-dir",
            f"dataset_dir: {folder} holds no {REGISTRY}.",
            hint="`lfwrap prepare-data FILE --out DIR --name NAME` writes one.",
            **place(recipe, "dataset_dir"),
        )
        return DatasetDir(str(folder), reason, (finding,))
    return DatasetDir(str(folder), reason, tuple(_unregistered(recipe, [folder])))


def _unregistered(recipe: Recipe, folders: list[Path]) -> Iterator[Finding]:
    known = [name for folder in folders for name in _registered(folder)]
    unique = list(dict.fromkeys(str(folder) for folder in folders))
    where = ("any of " if len(unique) > 1 else "") + ", ".join(unique)
    for name in recipe.datasets:
        if name not in known and not is_path(name):  # a path has a finding of its own
            otherwise = "`lfwrap prepare-data FILE --out DIR --name NAME` registers one."
            hint = did_you_mean(name, known, otherwise=otherwise)
            key = "dataset" if name in str(recipe.engine_values.get("dataset")) else "eval_dataset"
            message = f"{key}: {name!r} is not registered in {where}."
            yield Finding("unknown-dataset", message, hint=hint, **place(recipe, key))


def _registered(folder: Path) -> list[str]:
    """The names that a folder registers; none when its registry is missing or unreadable."""
    try:
        registry = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [str(name) for name in registry] if isinstance(registry, dict) else []
