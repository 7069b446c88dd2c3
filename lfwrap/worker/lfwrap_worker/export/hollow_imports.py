"""Imports that stand for packages which the work at hand never calls; used by workers.

The engine's modules import torch, peft, trl and more at their top, whatever is wanted of them: five of the six seconds
before a tokenizer is loaded. With `leave_out`, those names import as hollow modules: any attribute of theirs is an
empty class, good for annotations and base classes, and of no use for anything else. transformers finds no torch then,
for which it has a way of its own: tokenizers without models.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODEL_PACKAGES = (
    "accelerate",
    "av",
    "datasets",
    "llamafactory.model.adapter",
    "llamafactory.model.model_utils",
    "peft",
    "torch",
    "torchaudio",
    "torchvision",
    "transformers.modeling_utils",
    "transformers.trainer",
    "trl",
)
"""What the engine's tokenizers and templates of text models import and don't use."""


class _HollowType(type):
    """Of classes that have any attribute that is asked for."""

    def __getattr__(cls, name: str) -> type:
        return _hollow_class(name)


class _HollowModule(ModuleType):
    def __getattr__(self, name: str) -> type:
        return _hollow_class(name)


def _hollow_class(name: str) -> type:
    if name.startswith("__"):  # Python asks for those, and takes their absence for an answer
        raise AttributeError(name)
    return _HollowType(name, (), {})


class _HollowFinder(MetaPathFinder, Loader):
    """Finds the modules that are left out, and everything in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def holds(self, name: str) -> bool:
        """Whether a module belongs to a package that is left out."""
        return any(name == left_out or name.startswith(f"{left_out}.") for left_out in self._names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A hollow module's spec for a package that is left out."""
        del path, target
        return ModuleSpec(fullname, self, is_package=True) if self.holds(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The hollow module itself, empty."""
        return _HollowModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it stays hollow."""


def leave_out(names: Sequence[str] = MODEL_PACKAGES) -> None:
    """From now on these import as hollow modules; who asks by `find_spec` whether they are installed is told no."""
    finder = _HollowFinder(names)
    find_spec = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> ModuleSpec | None:
        """As `importlib.util.find_spec`, which finds none of the packages left out."""
        return None if finder.holds(name) else find_spec(name, package)

    sys.meta_path.insert(0, finder)
    importlib.util.find_spec = find_others
