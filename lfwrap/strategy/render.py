"""Turn a recipe into the engine's YAML and the DeepSpeed JSON. Pure but for the templates that it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.plan.compiling import why_left_to_trainer
from lfwrap.plan.inputs.batch import DEFAULT_MAX_MICRO_BATCH, BatchPlan, solve_batch
from lfwrap.plan.request import COMPILE_KEY, STAGE_KEY, Setting
from lfwrap.recipe import machine_layers
from lfwrap.recipe.intent import BLOCK
from lfwrap.recipe.jinja_templates import render_template
from lfwrap.recipe.layers import Layers, Value
from lfwrap.recipe.recipe import MODEL_KEY, Recipe, Source
from lfwrap.yaml_files import dump_yaml

BATCH_KEYS = ("per_device_train_batch_size", "gradient_accumulation_steps")
# What a plan replaces even where the recipe sets it: how an update is made up, and the length of packs.
_PLAN_REPLACES = (*BATCH_KEYS, "cutoff_len")
_SECTIONS = {
    "model": "model",
    "method": "method",
    "data": "dataset",
    "train": "train",
    "generate": "generate",
    "": "other",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a recipe becomes on a machine.

    Attributes:
        engine: the engine's keys and values.
        engine_yaml: the same as the text that `llamafactory-cli train` takes by hand; empty where none was asked for.
        deepspeed: the DeepSpeed configuration to be written to the path that ``engine["deepspeed"]`` names, or None.
        batch: how the effective batch is made up; None when the recipe's own numbers make no sense.
        world_size: processes.
        zero_stage: DeepSpeed's stage, the recipe's or the plan's; None without DeepSpeed.
        values: every value with its source and reason, engine defaults left out.
        notes: what the person should know: what was changed and what follows from it.
        compiled: whether lfwrap's own start of the engine compiles the layers. The plan's choice does not stand in the
            engine's YAML, where it would compile the whole model; a person's own `torch_compile: true` does.
    """

    engine: dict[str, Any]
    engine_yaml: str
    deepspeed: dict[str, Any] | None
    batch: BatchPlan | None
    world_size: int
    zero_stage: int | None
    values: tuple[Value, ...]
    notes: tuple[str, ...]
    compiled: bool = False


def render_recipe(
    recipe: Recipe,
    facts: EngineFacts,
    hardware: HardwareProfile,
    *,
    output_dir: str,
    dataset_dir: str | None = None,
    world_size: int | None = None,
    plan_values: Mapping[str, Setting] | None = None,
    run_values: Mapping[str, Setting] | None = None,
    deepspeed_path: str = "deepspeed.json",
    with_text: bool = True,
) -> Rendered:
    """Render a checked recipe for a machine.

    Layers, the weakest first: template < hardware < plan < recipe < MODEL_PATH < command line < what the hardware can't
    do otherwise < what the ``lfwrap:`` block asks for, and the plan's batch < run. Without the block there are only the
    recipe's own values and the run's.

    Args:
        recipe: the recipe, found right by `check_recipe`.
        facts: the engine's keys and templates.
        hardware: the machine to train on.
        output_dir: where the engine writes.
        dataset_dir: where the data sets are registered, found by `find_dataset_dir`; None leaves the recipe's own.
        world_size: processes; None takes one for each GPU of the machine.
        plan_values: key → (value, reason) of the plan, as `planning.plan_training` gives them.
        run_values: key → (value, reason) that supervising the run needs.
        deepspeed_path: where the caller will write the DeepSpeed configuration.
        with_text: whether the engine's YAML is written out, too; a plan needs the values only.

    Raises:
        PlanError: the effective batch can't be made exactly.
    """
    processes = world_size or hardware.world_size
    plan = dict(plan_values or {})
    if STAGE_KEY in plan:
        recipe = replace(recipe, intent=replace(recipe.intent, zero_stage=plan.pop(STAGE_KEY)[0]))
    compiled = COMPILE_KEY in plan and bool(plan.pop(COMPILE_KEY)[0])
    layers = _own_layers(recipe, facts, hardware, plan)
    deepspeed: dict[str, Any] | None = None
    if recipe.has_intent:
        _lay_intent(recipe, layers, hardware, plan, processes)
        deepspeed = _lay_deepspeed(recipe, layers, processes, hardware, deepspeed_path)
    notes = machine_layers.hardware_notes(recipe, layers, hardware) if recipe.has_intent else []
    layers.lay(Source.RUN, _run_layer(output_dir, dataset_dir))
    layers.lay(Source.RUN, run_values or {})
    rendered = _rendered(recipe, facts, layers, processes, deepspeed, with_text=with_text)
    return replace(rendered, notes=(*notes, *rendered.notes), compiled=_compiles(rendered, chosen=compiled))


def _compiles(rendered: Rendered, *, chosen: bool) -> bool:
    """Whether layers are compiled one by one, by the plan's choice or the person's: not where the trainer compiles."""
    is_wanted = chosen or bool(rendered.engine.get(COMPILE_KEY))
    return is_wanted and not why_left_to_trainer(rendered.engine, rendered.zero_stage)


def _rendered(
    recipe: Recipe,
    facts: EngineFacts,
    layers: Layers,
    processes: int,
    deepspeed: dict[str, Any] | None,
    *,
    with_text: bool,
) -> Rendered:
    """The layers as the engine takes them, with a note on each value set by hand that was replaced."""
    values, batch = _ordered(layers, facts), _batch(layers, facts, processes)
    return Rendered(
        engine={value.key: value.value for value in values},
        engine_yaml=_engine_yaml(recipe, facts, values, batch, deepspeed=deepspeed is not None) if with_text else "",
        deepspeed=deepspeed,
        batch=batch,
        world_size=processes,
        zero_stage=recipe.intent.zero_stage if deepspeed else None,
        values=values,
        notes=tuple(machine_layers.change_notes(values)),
    )


def _own_layers(
    recipe: Recipe, facts: EngineFacts, hardware: HardwareProfile, plan_values: Mapping[str, Setting]
) -> Layers:
    """The recipe's values on top of what lfwrap proposes where it says nothing."""
    layers = Layers()
    if recipe.has_intent:
        layers.lay(Source.TEMPLATE, machine_layers.template_layer(recipe, facts))
        layers.lay(Source.HARDWARE, machine_layers.hardware_layer(recipe, hardware))
        layers.lay(Source.PLAN, plan_values)
    for source in (Source.RECIPE, Source.MODEL_PATH, Source.COMMAND_LINE):
        layers.lay(source, _own_layer(recipe, source))
    return layers


def _lay_intent(
    recipe: Recipe, layers: Layers, hardware: HardwareProfile, plan_values: Mapping[str, Setting], processes: int
) -> None:
    """What the machine can't do otherwise, what the block asks for, and how an update is made up.

    Raises:
        PlanError: the effective batch can't be made exactly.
    """
    layers.lay(Source.LIMIT, machine_layers.limit_layer(layers, hardware))
    layers.lay(Source.INTENT, machine_layers.checkpoint_layer(recipe.intent, layers))
    layers.lay(Source.PLAN, {key: plan_values[key] for key in _PLAN_REPLACES if key in plan_values})
    if not set(BATCH_KEYS) <= set(plan_values):
        layers.lay(Source.INTENT, _batch_layer(recipe, layers, processes))


def _own_layer(recipe: Recipe, source: Source) -> dict[str, Setting]:
    """The recipe's own values of one source; the file's with those that a stronger source replaces."""
    if source is Source.RECIPE:
        return {key: Setting(value, "") for key, value in recipe.document.values.items() if key != BLOCK}
    reason = f"The environment variable {source} names it." if source is Source.MODEL_PATH else ""
    return {
        key: Setting(recipe.engine_values[key], reason) for key, origin in recipe.sources.items() if origin is source
    }


def _run_layer(output_dir: str, dataset_dir: str | None) -> dict[str, Setting]:
    layer: dict[str, Setting] = {"output_dir": Setting(output_dir, "The run's own folder: nothing is overwritten.")}
    if dataset_dir is not None:
        layer["dataset_dir"] = Setting(dataset_dir, "The folder whose dataset_info.json registers the data sets.")
    return layer


def _batch_layer(recipe: Recipe, layers: Layers, processes: int) -> dict[str, Setting]:
    """Micro-batch and accumulation that make the effective batch exactly, where no plan says how.

    The command line's numbers are fixed; the recipe's micro-batch is the most that is taken, its accumulation a
    starting point that gives way.

    Raises:
        PlanError: there is no such product.
    """
    effective = recipe.intent.effective_batch_size
    if effective is None:
        return {}
    micro_key, accumulation_key = BATCH_KEYS
    fixed = {key: layers.get(key) for key in BATCH_KEYS if recipe.sources.get(key) is Source.COMMAND_LINE}
    limit = layers.get(micro_key) or recipe.intent.max_micro_batch or DEFAULT_MAX_MICRO_BATCH
    batch = solve_batch(effective, processes, fixed.get(micro_key), fixed.get(accumulation_key), limit)
    reason = f"lfwrap.effective_batch_size: {batch} (micro-batch × accumulation × processes)."
    layer: dict[str, Setting] = {accumulation_key: Setting(batch.accumulation, reason)}
    if batch.micro_batch != layers.get(micro_key):
        layer[micro_key] = Setting(batch.micro_batch, reason)
    return layer


def _batch(layers: Layers, facts: EngineFacts, processes: int) -> BatchPlan | None:
    numbers = [layers.get(key, facts.keys[key].default) for key in BATCH_KEYS]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        return None
    return BatchPlan(numbers[0], numbers[1], processes)


def _lay_deepspeed(
    recipe: Recipe, layers: Layers, processes: int, hardware: HardwareProfile, path: str
) -> dict[str, Any] | None:
    """The DeepSpeed configuration of the stage asked for, its path laid on; None where none is wanted."""
    stage = recipe.intent.zero_stage
    if not machine_layers.needs_deepspeed(recipe.intent, layers, processes, hardware):
        return None
    text = render_template(
        f"deepspeed/ds_z{stage}.json.j2",
        offload=recipe.intent.offload,
        bf16=bool(layers.get("bf16") or layers.get("pure_bf16")),
    )
    layers.lay(Source.INTENT, {"deepspeed": Setting(path, f"lfwrap.zero_stage: {stage}.")})
    config: dict[str, Any] = json.loads(text)
    return config


def _ordered(layers: Layers, facts: EngineFacts) -> tuple[Value, ...]:
    """The values by section, the model first; within a section as they came."""
    order = list(_SECTIONS)
    values = [value for value in layers.values().values() if value.value is not None or value.source != Source.ENGINE]
    return tuple(sorted(values, key=lambda value: (order.index(_section(value.key, facts)), value.key != MODEL_KEY)))


def _section(key: str, facts: EngineFacts) -> str:
    return facts.keys[key].group if key in facts.keys else ""


def _engine_yaml(
    recipe: Recipe, facts: EngineFacts, values: tuple[Value, ...], batch: BatchPlan | None, *, deepspeed: bool
) -> str:
    sections = [
        (title, dump_yaml({value.key: value.value for value in values if _section(value.key, facts) == group}))
        for group, title in _SECTIONS.items()
        if any(_section(value.key, facts) == group for value in values)
    ]
    return render_template(
        "engine.yaml.j2",
        recipe=recipe.path.name,
        version=facts.version,
        batch=str(batch) if batch else "",
        torchrun=deepspeed,
        sections=sections,
    )
