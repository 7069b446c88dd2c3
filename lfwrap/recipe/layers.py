"""Values in layers, each with where it comes from and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.plan.request import Setting
from lfwrap.recipe.recipe import Source

_BY_HAND = frozenset({Source.RECIPE, Source.MODEL_PATH, Source.COMMAND_LINE})


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one key, and where it comes from.

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
        """The value as ``--json`` prints it."""
        return {
            "key": self.key,
            "value": self.value,
            "source": str(self.source),
            "reason": self.reason,
            "instead_of": self.instead_of,
        }


class Layers:
    """Layers of values, from the weakest to the strongest; never changed, only copied with a layer more."""

    def __init__(self, layers: Iterable[tuple[Source, Mapping[str, Setting]]] = ()) -> None:
        """Lay these layers, the weakest first."""
        self._layers = tuple(layers)
        self._values: dict[str, Value] = {}
        for source, settings in self._layers:
            for key, (value, reason) in settings.items():
                below = self._values.get(key)
                is_changed = below is not None and below.source in _BY_HAND and below.value != value
                self._values[key] = Value(key, value, source, reason, below.value if below and is_changed else None)

    def with_layer(self, source: Source, settings: Mapping[str, Setting], *, below: Source | None = None) -> Layers:
        """These layers and one more: on top, or just below the first layer of another source."""
        sources = [own for own, _ in self._layers]
        place = len(sources) if below is None else sources.index(below)
        return Layers((*self._layers[:place], (source, settings), *self._layers[place:]))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of the strongest layer that has the key.

        >>> layers = Layers([(Source.RECIPE, {"bf16": Setting(True, "")})])
        >>> layers.with_layer(Source.LIMIT, {"bf16": Setting(False, "no GPU")}).get("bf16")
        False
        """
        found = self._values.get(key)
        return default if found is None else found.value

    def values(self) -> dict[str, Value]:
        """All values, in the order in which their keys first came."""
        return dict(self._values)
