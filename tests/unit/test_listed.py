"""What is there is listed, and what is listed is there: launchers, rules of recipes, commands, and their pages."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lfwrap.cli import commands
from lfwrap.cli.app import COMMANDS
from lfwrap.export.formats.table import FORMATS
from lfwrap.recipe import check
from lfwrap.run.launch import launchers
from lfwrap.run.launch.launchers.registry import LAUNCHERS

ROOT = Path(__file__).resolve().parents[2]


def modules(package: ModuleType) -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax of each module of a package."""
    for path in sorted(Path(str(package.__file__)).parent.glob("*.py")):
        yield path.stem, ast.parse(path.read_bytes())


def test_every_launcher_is_listed_under_its_own_name():
    classes = {
        node.name
        for _, tree in modules(launchers)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(one).startswith("name = ") for one in node.body)
    }
    assert {type(launcher).__name__ for launcher in LAUNCHERS.values()} == classes
    assert {name: launcher.name for name, launcher in LAUNCHERS.items()} == {name: name for name in LAUNCHERS}


@pytest.mark.parametrize(
    ("page", "option", "names"), [("launch", "--launcher", set(LAUNCHERS)), ("export", "--format", set(FORMATS))]
)
def test_a_page_has_a_row_for_each(page, option, names):
    text = (ROOT / f"docs/how-to/{page}.md").read_text(encoding="utf-8")
    _, _, table = text.partition(f"| `{option}` |")
    cells = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()[2:]]
    assert {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)} - {"auto"} == names


RULES = [module for module in vars(check).values() if isinstance(module, ModuleType) and hasattr(module, "RULES")]


def test_every_module_of_rules_is_checked():
    folder = Path(inspect.getfile(RULES[0])).parent
    with_rules = {path.stem for path in folder.glob("*.py") if "\nRULES = " in path.read_text(encoding="utf-8")}
    assert {module.__name__.rpartition(".")[2] for module in RULES} == with_rules


@pytest.mark.parametrize("module", RULES, ids=lambda module: module.__name__)
def test_every_rule_of_a_module_is_listed(module):
    public = {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and list(inspect.signature(function).parameters) == ["view"]
    }
    assert {name for name in public if not name.startswith("_")} == {rule.__name__ for rule in module.RULES}


def test_every_module_with_a_command_is_listed():
    with_command = {
        name
        for name, tree in modules(commands)
        if any(isinstance(node, ast.FunctionDef) and node.name == "command" for node in tree.body)
    }
    assert {module for module, _ in COMMANDS.values()} == with_command
