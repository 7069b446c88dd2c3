"""Rules across keys: what the engine refuses after seconds, or takes silently and then does something else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import Finding
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.recipe.recipe import Recipe
from lfwrap.recipe.rules import data, machine, method, template, training
from lfwrap.recipe.rules.view import View

Rule = Callable[[View], Iterator[Finding]]

RULES: tuple[Rule, ...] = (*template.RULES, *method.RULES, *data.RULES, *training.RULES, *machine.RULES)


def check_rules(recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile | None) -> Iterator[Finding]:
    """What all rules find, on a recipe however wrong."""
    view = View(recipe, facts, hardware)
    for rule in RULES:
        yield from rule(view)
