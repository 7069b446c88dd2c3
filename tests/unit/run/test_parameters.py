"""A training's way from the command line to the engine: what belongs together travels as one value."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lfwrap

ROOT = Path(lfwrap.__file__).parent
ROOMS = ("recipe", "plan", "strategy", "run", "tuning", "cli")
MOST = 7


def parameters(function: ast.FunctionDef) -> int:
    """How many there are, ``self`` and ``cls`` left out."""
    named = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return len([name for name in named if name not in {"self", "cls"}])


@pytest.mark.parametrize("room", ROOMS)
def test_no_function_takes_more_than_seven_parameters(room: str) -> None:
    modules = list((ROOT / room).rglob("*.py"))
    functions = [
        (str(module.relative_to(ROOT)), node)
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) > 10
    assert [(module, each.name) for module, each in functions if parameters(each) > MOST] == []
