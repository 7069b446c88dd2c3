"""Find what is wrong in a recipe before the engine starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import Finding, RecipeError, Severity
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.recipe.keys import check_intent, check_keys
from lfwrap.recipe.recipe import Recipe
from lfwrap.recipe.rules import data, machine, method, template, training
from lfwrap.recipe.rules.view import View
from lfwrap.units import plural

_Rule = Callable[[View], Iterator[Finding]]
_RULES: tuple[_Rule, ...] = (*template.RULES, *method.RULES, *data.RULES, *training.RULES, *machine.RULES)


def check_recipe(recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile | None = None) -> list[Finding]:
    """All findings in the order of the file: keys, types, choices and templates, then rules across keys.

    Args:
        recipe: any recipe, however wrong.
        facts: the engine's keys and templates.
        hardware: the machine to train on; without one, rules that need a machine are left out.
    """
    view = View(recipe, facts, hardware)
    findings = [*check_intent(recipe), *check_keys(recipe, facts), *(found for rule in _RULES for found in rule(view))]
    return sorted(findings, key=lambda finding: (finding.line or 0, finding.column or 0))


def require_valid(recipe: Recipe, findings: list[Finding]) -> list[Finding]:
    """The warnings among the findings.

    Raises:
        RecipeError: there are errors; carries all findings.
    """
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        raise RecipeError(f"{plural(len(errors), 'error')} in {recipe.path}", findings=findings)
    return findings
