"""lfwrap: data, recipes, training and export for LLaMA-Factory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lfwrap.notebook import load_run

__all__ = ["__version__", "load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`load_run`, imported when it is first asked for: the command line stays quick."""
    if name == "load_run":
        import importlib

        return importlib.import_module("lfwrap.notebook").load_run
    raise AttributeError(f"module 'lfwrap' has no attribute {name!r}")
