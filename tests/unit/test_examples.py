"""The ``>>>`` examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lfwrap"


def modules_with_examples():
    """The package's modules with an example; the workers' run in the engine's Python alone."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
        if not name.startswith("lfwrap.worker") and ">>> " in path.read_text(encoding="utf-8"):
            yield name


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_the_examples_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
