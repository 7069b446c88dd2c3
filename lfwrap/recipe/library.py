"""The recipes that ship with lfwrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lfwrap.bundled import bundled_path
from lfwrap.recipe.recipe import Recipe, load_recipe


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """One recipe that ships with lfwrap.

    Attributes:
        name: its name, as every command takes it (``recipes/paper.yaml``).
        path: the path of its file.
        title: the first line of its header.
        recipe: the recipe, unchanged.
    """

    name: str
    path: Path
    title: str
    recipe: Recipe


def bundled_recipes() -> Iterator[LibraryEntry]:
    """All recipes that ship with lfwrap, in the order of their names."""
    for path in sorted(bundled_path("recipes").glob("*.yaml")):
        yield LibraryEntry(f"recipes/{path.name}", path, _title(path), load_recipe(path, environ={}))


def _title(path: Path) -> str:
    """The first comment line with text, except the line that names the schema for editors."""
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.removeprefix("#").strip()
        if line.startswith("#") and text and not text.startswith("yaml-language-server"):
            return text
    return path.stem
