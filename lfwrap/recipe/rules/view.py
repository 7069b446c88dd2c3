"""The view that rules have of a recipe: only values of the right type, and findings placed at a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import Finding, Severity
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.recipe.intent import BLOCK, Intent
from lfwrap.recipe.keys import has_type, place
from lfwrap.recipe.recipe import Recipe


@dataclass(frozen=True)
class View:
    """A recipe as rules read it; a value of the wrong type counts as the engine's default (`check_keys` reports it).

    Attributes:
        recipe: the recipe.
        facts: the engine's keys.
        hardware: the machine, or None where none was named.
    """

    recipe: Recipe
    facts: EngineFacts
    hardware: HardwareProfile | None

    @property
    def intent(self) -> Intent:
        """The recipe's ``lfwrap:`` block."""
        return self.recipe.intent

    def get(self, key: str) -> Any:
        """The value in force: the recipe's, or the engine's default."""
        fact = self.facts.keys.get(key)
        default = fact.default if fact else None
        value = self.recipe.engine_values.get(key, default)
        if value is None or fact is None or not has_type(value, fact.types):
            return default
        return value

    def on(self, key: str) -> bool:
        """Whether a switch is on (or a value is set to something)."""
        return bool(self.get(key))

    def has(self, key: str) -> bool:
        """Whether the recipe itself sets the key to something."""
        return self.recipe.engine_values.get(key) is not None

    def number(self, key: str, default: float = 0.0) -> float:
        """The number in force; ``default`` where the value is not a number."""
        value = self.get(key)
        return value if isinstance(value, int | float) else default

    def text(self, key: str) -> str:
        """The text in force; empty where the value is not a text."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    @property
    def stage(self) -> str:
        """The training stage, such as ``sft`` or ``dpo``."""
        return self.text("stage") or "sft"

    @property
    def trains(self) -> bool:
        """Whether the engine will train."""
        by_block = self.recipe.has_intent and not self.has("do_train")
        return self.on("do_train") or by_block or self.recipe.trains_unasked

    @property
    def zero_stage(self) -> int | None:
        """The ZeRO stage that lfwrap will render; a DeepSpeed file that the recipe names is not read."""
        if self.intent.zero_stage is not None:
            return self.intent.zero_stage
        config = self.get("deepspeed")
        stage = config.get("zero_optimization") if isinstance(config, dict) else None
        found = stage.get("stage") if isinstance(stage, dict) else None
        if isinstance(found, int):
            return found
        return 3 if isinstance(config, str) and ("z3" in config or "zero3" in config or "stage3" in config) else None

    def error(self, rule: str, key: str, message: str, hint: str) -> Finding:
        """A finding that stops the command, at the key's place."""
        return Finding(rule, message, hint=hint, **self._place(key))

    def warning(self, rule: str, key: str, message: str, hint: str) -> Finding:
        """A finding that does not stop the command."""
        return Finding(rule, message, Severity.WARNING, hint=hint, **self._place(key))

    def info(self, rule: str, key: str, message: str, hint: str) -> Finding:
        """A finding that is only worth knowing."""
        return Finding(rule, message, Severity.INFO, hint=hint, **self._place(key))

    def _place(self, key: str) -> dict[str, Any]:
        return place(self.recipe, *((BLOCK, key.split(".", 1)[1]) if key.startswith(f"{BLOCK}.") else (key,)))
