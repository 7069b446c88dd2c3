"""From a recipe's values and a strategy to the engine's YAML and the DeepSpeed JSON. It reads only templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.bundled import render_template
from lfwrap.engine.keys import COMPILE_KEY
from lfwrap.plan.compiling import why_left_to_trainer
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.request import Setting
from lfwrap.recipe.layers import Layers, Value
from lfwrap.recipe.recipe import Source
from lfwrap.recipe.values import SECTIONS, ResolvedValues
from lfwrap.strategy.strategy import Strategy
from lfwrap.yaml_files import dump_yaml


@dataclass(frozen=True, slots=True)
class Rendered:
    """The engine's configuration for a recipe on a machine.

    Attributes:
        engine: the engine's keys and values.
        engine_yaml: the same as the text that `llamafactory-cli train` takes by hand.
        deepspeed: the DeepSpeed configuration to be written to the path that ``engine["deepspeed"]`` names, or None.
        batch: how the effective batch is made up; None when the recipe's own numbers make no sense.
        world_size: processes.
        zero_stage: DeepSpeed's stage, the recipe's or the plan's; None without DeepSpeed.
        values: every value with its source and reason, engine defaults left out.
        notes: what the person should know: what was changed and what follows from it.
        compiled: whether lfwrap's own start of the engine compiles the layers. A strategy's choice does not stand in
            the engine's YAML, where it would compile the whole model; a person's own `torch_compile: true` does.
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


def render(
    values: ResolvedValues,
    strategy: Strategy,
    *,
    output_dir: str,
    dataset_dir: str | None = None,
    run_values: Mapping[str, Setting] | None = None,
    deepspeed_path: str = "deepspeed.json",
) -> Rendered:
    """The engine's YAML and the DeepSpeed configuration of a recipe.

    Of the strategy's settings, micro-batch, accumulation and cutoff replace the recipe's; all others give way to it.

    Args:
        values: the recipe's values on the machine.
        strategy: how it is run there.
        output_dir: where the engine writes.
        dataset_dir: where the data sets are registered, found by `find_dataset_dir`; None leaves the recipe's own.
        run_values: key → setting that supervising the run needs; they replace everything.
        deepspeed_path: where the caller will write the DeepSpeed configuration.
    """
    wanted = values.recipe.intent.zero_stage if strategy.zero_stage is None else strategy.zero_stage
    layers = values.with_settings(strategy.settings)
    stage = values.stage_of(layers, wanted)
    if stage is not None:
        path = Setting(deepspeed_path, f"lfwrap.zero_stage: {stage}.")
        layers = layers.with_layer(Source.INTENT, {"deepspeed": path})
    layers = layers.with_layer(Source.RUN, {**_run_layer(output_dir, dataset_dir), **(run_values or {})})
    ordered, batch = values.ordered(layers), values.batch_of(layers)
    engine = {value.key: value.value for value in ordered}
    return Rendered(
        engine=engine,
        engine_yaml=_engine_yaml(values, ordered, batch, uses_deepspeed=stage is not None),
        deepspeed=None if stage is None else _deepspeed_config(values, layers, stage),
        batch=batch,
        world_size=values.world_size,
        zero_stage=stage,
        values=ordered,
        notes=values.notes_of(layers, wanted),
        compiled=_compiles_layers(engine, stage, strategy),
    )


def _compiles_layers(engine: Mapping[str, Any], stage: int | None, strategy: Strategy) -> bool:
    """Whether layers are compiled one by one, by the plan's choice or the person's: not where the trainer compiles."""
    is_wanted = strategy.compiles_layers or bool(engine.get(COMPILE_KEY))
    return is_wanted and not why_left_to_trainer(engine, stage)


def _run_layer(output_dir: str, dataset_dir: str | None) -> dict[str, Setting]:
    layer = {"output_dir": Setting(output_dir, "The run's own folder: nothing is overwritten.")}
    if dataset_dir is not None:
        layer["dataset_dir"] = Setting(dataset_dir, "The folder whose dataset_info.json registers the data sets.")
    return layer


def _deepspeed_config(values: ResolvedValues, layers: Layers, stage: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a ZeRO stage."""
    text = render_template(
        f"deepspeed/ds_z{stage}.json.j2",
        offload=values.recipe.intent.offload,
        bf16=bool(layers.get("bf16") or layers.get("pure_bf16")),
    )
    config: dict[str, Any] = json.loads(text)
    return config


def _engine_yaml(
    values: ResolvedValues, ordered: tuple[Value, ...], batch: BatchPlan | None, *, uses_deepspeed: bool
) -> str:
    """The text of the engine's YAML: a section for each group of its arguments."""
    groups: dict[str, dict[str, Any]] = {group: {} for group in SECTIONS}
    for value in ordered:
        groups[values.section_of(value.key)][value.key] = value.value
    return render_template(
        "engine.yaml.j2",
        recipe=values.recipe.path.name,
        version=values.facts.version,
        batch=str(batch) if batch else "",
        torchrun=uses_deepspeed,
        sections=[(SECTIONS[group], dump_yaml(content)) for group, content in groups.items() if content],
    )
