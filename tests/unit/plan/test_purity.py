"""The plan is arithmetic: what it says follows from its arguments, not from files, the clock, chance or the machine."""

import ast
from pathlib import Path

import pytest

import lfwrap.plan

PACKAGE = Path(lfwrap.plan.__file__).parent
# `sample` looks up the model and the machine of the examples in the catalogues; nothing else imports it.
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "sample.py"
}
STANDARD = {"__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "itertools", "math"}
STANDARD |= {"json", "random", "statistics", "typing"}
OURS = ("lfwrap.plan.", "lfwrap.errors", "lfwrap.units", "lfwrap.engine.keys", "lfwrap.engine.compat")
# Of these modules only types, and functions of their arguments.
NAMES = {
    "lfwrap.hardware.profile": {"DeviceKind", "Gpu", "HardwareProfile"},
    "lfwrap.model.shapes": {"LinearShape", "ModelFacts"},
}
ACTING = {"open", "print", "input", "exec", "eval", "compile", "__import__", "globals", "breakpoint"}


def imported(tree):
    """Module → names taken from it, of all imports; those inside of functions, too."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({alias.name: set() for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def is_pure(module, names):
    if module.split(".")[0] in STANDARD:
        return True
    if module in NAMES:
        return bool(names) and names <= NAMES[module]
    return module.startswith(OURS) and module != "lfwrap.plan.sample"


@pytest.mark.parametrize("name", MODULES)
def test_only_what_computes_is_imported(name):
    assert [module for module, names in imported(MODULES[name]).items() if not is_pure(module, names)] == []


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_read_or_written(name):
    called = {node.func.id for node in ast.walk(MODULES[name]) if isinstance(node, ast.Call) and is_name(node.func)}
    assert called & ACTING == set()


@pytest.mark.parametrize("name", MODULES)
def test_chance_has_a_seed(name):
    """The one way to draw is `random.Random(NUMBER)`: the same order whenever it is asked for."""
    tree = MODULES[name]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_name(node.value, "random")]
    seeded = [
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    ]
    assert all(use.attr == "Random" and use in seeded for use in uses)


def is_name(node, name=None):
    return isinstance(node, ast.Name) and name in {None, node.id}


@pytest.mark.parametrize(
    ("text", "is_allowed"),
    [
        ("import os", False),
        ("from time import monotonic", False),
        ("from pathlib import Path", False),
        ("from lfwrap.hardware.profile import catalog_machine", False),
        ("from lfwrap.hardware.profile import Gpu", True),
        ("import math", True),
    ],
)
def test_the_rule_knows_what_is_not_pure(text, is_allowed):
    assert all(is_pure(module, names) for module, names in imported(ast.parse(text)).items()) is is_allowed
