"""Values in layers, each with where it comes from and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.plan.request import Setting
from lfwrap.recipe.recipe import Source


@dataclass(frozen=True, slots=True)
class Value:
    """One key's value.

    Attributes:
        key: the engine's key.
        value: what it is set to.
        source: the layer it comes from.
        reason: why, a sentence; empty where the source says it all.
        instead_of: the value of the layer below that it replaces, where that one was set by hand.
    """

    key: str
    value: Any
    source: Source
    reason: str = ""
    instead_of: Any = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "key": self.key,
            "value": self.value,
            "source": str(self.source),
            "reason": self.reason,
            "instead_of": self.instead_of,
        }


class Layers:
    """Layers of values, laid from the weakest to the strongest."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def lay(self, source: Source, values: Mapping[str, Setting]) -> None:
        """Put a layer on top."""
        for key, (value, reason) in values.items():
            below = self._values.get(key)
            by_hand = below is not None and below.source in {Source.RECIPE, Source.MODEL_PATH, Source.COMMAND_LINE}
            changed = below is not None and by_hand and below.value != value
            self._values[key] = Value(key, value, source, reason, below.value if below and changed else None)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of the strongest layer that has the key."""
        found = self._values.get(key)
        return default if found is None else found.value

    def values(self) -> dict[str, Value]:
        """All values, in the order in which their keys first came."""
        return dict(self._values)
