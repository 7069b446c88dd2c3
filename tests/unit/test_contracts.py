"""The contracts of imports in pyproject.toml name every module that they should; circles are counted apart."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import lfwrap

PACKAGE = Path(lfwrap.__file__).parent
CONTRACTS = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
    "contracts"
]
# `__main__` is the command line once more; workers are no part of lfwrap, and import nothing of it.
OUTSIDE = {"lfwrap.__main__", "lfwrap.worker"}
TOP = {
    f"lfwrap.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
} - {"lfwrap.__init__", *OUTSIDE}
WITH_ROOMS = {name for name in TOP if (PACKAGE / name.removeprefix("lfwrap.")).is_dir()}


def contracts(kind: str) -> list[dict[str, Any]]:
    return [one for one in CONTRACTS if one["type"] == kind]


def modules() -> dict[str, Path]:
    """Name → file, workers left out."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if parts[:2] != ("lfwrap", "worker"):
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports_of(name: str) -> set[str]:
    """The modules of lfwrap that a module names in an import, wherever in the file it stands."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_bytes())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            module = node.module or ""
            found |= {full if (full := f"{module}.{one.name}") in MODULES else module for one in node.names}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return (found & MODULES.keys()) - {name}


IMPORTS = {name: imports_of(name) for name in MODULES}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one module (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            at = stack.index(node)
            component = set(stack[at:])
            del stack[at:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) == [{"b", "c"}]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_in_a_circle():
    """Imports within functions count, too. The package itself hands out `load_run` when it is asked for."""
    assert len(MODULES) > 250
    graph = {name: used - {"lfwrap"} for name, used in IMPORTS.items()}
    assert circles(graph) == []


def test_the_layers_name_every_module_of_the_package():
    (layers,) = (one["layers"] for one in contracts("layers") if "containers" not in one)
    named = [name for layer in layers for name in layer.split(" | ")]
    assert len(named) == len(set(named))
    assert set(named) == TOP


@pytest.mark.parametrize(("forbidden", "free"), [("click", {"lfwrap.cli"}), ("torch", set())])
def test_what_is_forbidden_is_forbidden_everywhere_else(forbidden, free):
    (contract,) = (one for one in contracts("forbidden") if forbidden in one["forbidden_modules"])
    assert set(contract["source_modules"]) == TOP - free


def test_every_package_with_rooms_says_which_of_its_modules_others_import():
    protected = {one["protected_modules"][0]: one for one in contracts("protected")}
    assert protected.keys() == WITH_ROOMS
    assert all(one["allowed_importers"] == one["protected_modules"] == [name] for name, one in protected.items())


@pytest.mark.parametrize("package", sorted(WITH_ROOMS))
def test_a_door_is_used_and_what_is_used_is_a_door(package):
    """A line that nobody needs any more would leave a door open; import-linter does not see that."""
    (contract,) = (one for one in contracts("protected") if one["protected_modules"] == [package])
    doors = contract["ignore_imports"]
    inside = {name for name in MODULES if name == package or name.startswith(f"{package}.")}
    used = {one for name in MODULES.keys() - inside for one in IMPORTS[name] & inside}
    assert doors == [f"lfwrap.** -> {name}" for name in sorted(used)]


SAYS_DOORS = re.compile(r"Other packages may import(.*?)(?:\n\n(?!-)|\Z)", re.DOTALL)


def said_doors(package: str) -> str:
    """What a package's docstring says of its doors."""
    text = ast.get_docstring(ast.parse(MODULES[package].read_bytes())) or ""
    found = SAYS_DOORS.search(text)
    return found.group(1) if found else ""


@pytest.mark.parametrize("package", sorted(WITH_ROOMS))
def test_a_packages_docstring_names_its_doors(package):
    (contract,) = (one for one in contracts("protected") if one["protected_modules"] == [package])
    doors = {line.partition(" -> ")[2] for line in contract["ignore_imports"]}
    named = {f"{package}.{name}" for name in re.findall(r"`([\w.]+)`", said_doors(package))}
    assert named & MODULES.keys() == doors
