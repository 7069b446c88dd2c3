"""Rules across keys: what the engine refuses after seconds, or takes silently and does something else."""

from __future__ import annotations

from collections.abc import Iterator

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import Finding
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.recipe.recipe import Recipe


def check_rules(recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile | None) -> Iterator[Finding]:
    """What the rules find."""
    template = recipe.engine_values.get("template")
    if isinstance(template, str) and template not in facts.templates:
        yield Finding("unknown-template", f"template: {template!r} does not exist.", file=recipe.document.name)
