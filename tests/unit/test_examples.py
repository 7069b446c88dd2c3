"""Examples in docstrings run, and the public functions that are pure arithmetic or parse a text have one."""

import ast
import doctest
import importlib
import io
from pathlib import Path

import pytest

import lfwrap

PACKAGE = Path(lfwrap.__file__).parent
# Scripts for the engine's Python, which has no lfwrap; they import torch, or what else the engine brings.
OUTSIDE = ("worker",)


def modules():
    """Module name → its text, of all that can be imported here."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in OUTSIDE]
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths}
    return {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for path, name in names.items()}


MODULES = modules()
WITH_EXAMPLES = [name for name, text in MODULES.items() if ">>>" in text]


def needs_example(module, function):
    """Whether a function of a module is a public one of the plan, or a public parser."""
    if function.name.startswith("_"):
        return False
    return module.startswith("lfwrap.plan.") or function.name.startswith("parse_")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name):
    report = io.StringIO()
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name), name):
        runner.run(example, out=report.write)
    assert not runner.summarize(verbose=False).failed, report.getvalue()


def test_pure_functions_and_parsers_have_an_example():
    missing = [
        f"{module}.{node.name}"
        for module, text in MODULES.items()
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and needs_example(module, node)
        if ">>>" not in (ast.get_docstring(node) or "")
    ]
    assert not missing
