"""A recipe's values on a machine: the recipe's own, and what lfwrap adds where it leaves them open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.engine.keys import ACCUMULATION_KEY, BATCH_KEYS, CUTOFF_KEY, MICRO_KEY, MODEL_KEY
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.plan.inputs.batch import DEFAULT_MAX_MICRO_BATCH, BatchPlan, solve_batch
from lfwrap.plan.request import Setting
from lfwrap.recipe.intent import BLOCK
from lfwrap.recipe.layers import (
    Layers,
    Value,
    change_notes,
    checkpoint_layer,
    hardware_layer,
    hardware_notes,
    limit_layer,
    needs_deepspeed,
    template_layer,
)
from lfwrap.recipe.recipe import Recipe, Source

# What a strategy replaces even where the recipe sets it: how an update is made up, and the length of packs.
_REPLACED_KEYS = (*BATCH_KEYS, CUTOFF_KEY)
SECTIONS = {
    "model": "model",
    "method": "method",
    "data": "dataset",
    "train": "train",
    "generate": "generate",
    "": "other",
}
"""Group of the engine's arguments → title of its section, in the order in which an engine YAML has them."""


@dataclass(frozen=True, slots=True)
class ResolvedValues:
    """A recipe's values on a machine, before anything is chosen for its speed.

    Attributes:
        recipe: the recipe.
        facts: the engine's keys and templates.
        hardware: the machine to train on.
        world_size: processes on all nodes together.
        layers: all values but micro-batch and accumulation as the block's effective batch asks for them.
        batch_settings: those two; empty where the block names no effective batch.
    """

    recipe: Recipe
    facts: EngineFacts
    hardware: HardwareProfile
    world_size: int
    layers: Layers
    batch_settings: Mapping[str, Setting]

    def with_settings(self, settings: Mapping[str, Setting]) -> Layers:
        """The layers with what a strategy sets, below the recipe's own values; its batch is above them.

        Without the ``lfwrap:`` block the recipe stays as it is.
        """
        if not self.recipe.has_intent:
            return self.layers
        layers = self.layers.with_layer(Source.PLAN, settings, below=Source.RECIPE)
        layers = layers.with_layer(Source.PLAN, {key: settings[key] for key in _REPLACED_KEYS if key in settings})
        has_batch = set(BATCH_KEYS) <= settings.keys()
        return layers if has_batch else layers.with_layer(Source.INTENT, self.batch_settings)

    def ordered(self, layers: Layers) -> tuple[Value, ...]:
        """The values of these layers by section, the model first; within a section as they came."""
        order = list(SECTIONS)
        return tuple(
            sorted(
                layers.values().values(),
                key=lambda value: (order.index(self.section_of(value.key)), value.key != MODEL_KEY),
            )
        )

    def section_of(self, key: str) -> str:
        """The group of the engine's arguments that a key belongs to; empty for a key that the engine does not know."""
        return self.facts.keys[key].group if key in self.facts.keys else ""

    @property
    def engine(self) -> dict[str, Any]:
        """The engine's keys and values where nothing is chosen for speed; without what only a run has."""
        return {key: value.value for key, value in self.with_settings({}).values().items()}

    @property
    def batch(self) -> BatchPlan | None:
        """How an update is made up where nothing is chosen for speed; None when the numbers make no sense."""
        return self.batch_of(self.with_settings({}))

    def batch_of(self, layers: Layers) -> BatchPlan | None:
        """How an update is made up by these layers; None when their numbers make no sense."""
        numbers = [layers.get(key, self.facts.keys[key].default) for key in BATCH_KEYS]
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            return None
        return BatchPlan(numbers[0], numbers[1], self.world_size)

    @property
    def zero_stage(self) -> int | None:
        """DeepSpeed's stage, as the recipe's block names it; None where DeepSpeed is not used."""
        return self.stage_of(self.layers, self.recipe.intent.zero_stage)

    def stage_of(self, layers: Layers, stage: int | None) -> int | None:
        """The stage where DeepSpeed is used with it, which a recipe without the block never asks for."""
        is_used = needs_deepspeed(stage, layers, self.world_size, self.hardware)
        return stage if is_used and self.recipe.has_intent else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person should know where nothing is chosen for speed."""
        return self.notes_of(self.with_settings({}), self.recipe.intent.zero_stage)

    def notes_of(self, layers: Layers, stage: int | None) -> tuple[str, ...]:
        """What the machine means for the training, and each value set by hand that is replaced.

        Args:
            layers: the values.
            stage: the ZeRO stage that is asked for.
        """
        about_machine: list[str] = []
        if self.recipe.has_intent:
            uses_deepspeed = self.stage_of(layers, stage) is not None
            about_machine = hardware_notes(layers, self.hardware, stage, uses_deepspeed=uses_deepspeed)
        return (*about_machine, *change_notes(self.ordered(layers)))


def resolve_values(
    recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile, world_size: int | None = None
) -> ResolvedValues:
    """The values of a checked recipe on a machine.

    Layers, the weakest first: template < hardware < data size < recipe < MODEL_PATH < command line < what the hardware
    can't do otherwise < what the ``lfwrap:`` block asks for. Without the block there are only the recipe's own values.

    Args:
        recipe: the recipe, found right by `check_recipe`.
        facts: the engine's keys and templates.
        hardware: the machine to train on.
        world_size: processes; None takes one for each GPU of the machine.

    Raises:
        PlanError: the effective batch can't be made exactly.
    """
    processes = world_size or hardware.world_size
    layers = _own_layers(recipe, facts, hardware)
    batch: dict[str, Setting] = {}
    if recipe.has_intent:
        layers = layers.with_layer(Source.LIMIT, limit_layer(layers, hardware))
        layers = layers.with_layer(Source.INTENT, checkpoint_layer(recipe.intent, layers))
        batch = _batch_settings(recipe, layers, processes)
    return ResolvedValues(recipe, facts, hardware, processes, layers, batch)


def _own_layers(recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile) -> Layers:
    """The recipe's values on top of what lfwrap proposes where it says nothing."""
    layers: list[tuple[Source, Mapping[str, Setting]]] = []
    if recipe.has_intent:
        layers.append((Source.TEMPLATE, template_layer(recipe, facts)))
        layers.append((Source.HARDWARE, hardware_layer(recipe, hardware)))
    sources = (Source.DATA_SIZE, Source.RECIPE, Source.MODEL_PATH, Source.COMMAND_LINE)
    return Layers([*layers, *((source, _own_layer(recipe, source)) for source in sources)])


def _own_layer(recipe: Recipe, source: Source) -> dict[str, Setting]:
    """The recipe's own values of one source; the file's with those that a stronger source replaces."""
    if source is Source.RECIPE:
        return {key: Setting(value, "") for key, value in recipe.document.values.items() if key != BLOCK}
    reason = f"The environment variable {source} names it." if source is Source.MODEL_PATH else ""
    reason = recipe.size_note if source is Source.DATA_SIZE else reason
    return {
        key: Setting(recipe.engine_values[key], reason) for key, origin in recipe.sources.items() if origin is source
    }


def _batch_settings(recipe: Recipe, layers: Layers, processes: int) -> dict[str, Setting]:
    """Micro-batch and accumulation that make the effective batch exactly, where no strategy says how.

    The command line's numbers are fixed; the recipe's micro-batch is the most that is taken, its accumulation a
    starting point that gives way.

    Raises:
        PlanError: there is no such product.
    """
    effective = recipe.effective_batch
    if effective is None:
        return {}
    fixed = {key: layers.get(key) for key in BATCH_KEYS if recipe.sources.get(key) is Source.COMMAND_LINE}
    limit = layers.get(MICRO_KEY) or recipe.intent.max_micro_batch or DEFAULT_MAX_MICRO_BATCH
    batch = solve_batch(effective, processes, fixed.get(MICRO_KEY), fixed.get(ACCUMULATION_KEY), limit)
    reason = f"lfwrap.effective_batch_size: {batch} (micro-batch × accumulation × processes)."
    settings = {ACCUMULATION_KEY: Setting(batch.accumulation, reason)}
    if batch.micro_batch != layers.get(MICRO_KEY):
        settings[MICRO_KEY] = Setting(batch.micro_batch, reason)
    return settings
