"""``lfwrap plan``: what fits a machine, how fast it goes, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lfwrap.cli import output
from lfwrap.errors import PlanError, PreflightError

if TYPE_CHECKING:
    from lfwrap.hardware.profile import HardwareProfile
    from lfwrap.model.facts import ModelFacts
    from lfwrap.plan.plan import Plan
    from lfwrap.plan.search import PlanRequest, Rows
    from lfwrap.recipe.recipe import Recipe
    from lfwrap.recipe.render import Rendered

_STAGES = frozenset({"sft", "pt"})
_METHODS = frozenset({"lora", "full"})
_DEFAULT_CUTOFF = 2048


@click.command("plan")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--hardware", metavar="NAME|FILE|auto", default="auto", show_default=True, help="The machine.")
@click.option("--gpus", "world_size", type=click.IntRange(min=1), help="Processes; one for each GPU by default.")
@click.option("--longest-row", type=click.IntRange(min=1), help="Tokens of the longest row; the cutoff by default.")
@click.option("--mean-row", type=click.FloatRange(min=1), help="Mean tokens of a row, for packing and for time.")
@click.option("--rows", "row_count", type=click.IntRange(min=1), help="Rows of an epoch, for steps and time.")
@click.option("--fixed", is_flag=True, help="Predict exactly what the recipe says, without a search.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    *,
    recipe: str,
    overrides: tuple[str, ...],
    hardware: str,
    world_size: int | None,
    longest_row: int | None,
    mean_row: float | None,
    row_count: int | None,
    fixed: bool,
    as_json: bool,
) -> int:
    r"""Find the fastest way to run a recipe that fits a machine: memory term by term, tokens a second, why.

    Changes nothing that the recipe sets. Nothing fits: exit code 5, with the nearest that does.

    \b
    Example:
      lfwrap plan recipes/paper.yaml --hardware h100-80gb
      lfwrap plan recipes/paper.yaml --hardware t4 quantization_bit=4 cutoff_len=1024
      lfwrap plan my.yaml --hardware 2x-h200 --mean-row 170 --longest-row 700 --rows 52000
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import find_engine, package_version
    from lfwrap.hardware.profile import load_hardware
    from lfwrap.plan.plan import make_plan, predict_plan
    from lfwrap.plan.search import LIGER_KEY
    from lfwrap.recipe.check import check_recipe, require_valid
    from lfwrap.recipe.recipe import load_recipe
    from lfwrap.recipe.render import render_recipe
    from lfwrap.run.launch import choose_world_size

    machine = load_hardware(hardware)
    engine = find_engine()
    loaded, facts = load_recipe(recipe, overrides), load_engine_facts(engine)
    require_valid(loaded, check_recipe(loaded, facts, machine))
    processes = choose_world_size(world_size, machine)
    rendered = render_recipe(loaded, facts, machine, output_dir="RUN/output", world_size=processes)
    request = _request(loaded, rendered, machine, (longest_row, mean_row, row_count))
    if hardware == "auto" and engine is not None and not package_version(engine, "liger-kernel"):
        request = replace(request, given=request.given | {LIGER_KEY})  # what is not installed is no way to go
    plan = predict_plan(request) if fixed or request.effective_batch is None else make_plan(request)
    if as_json:
        output.print_json("plan", {"recipe": str(loaded.path), "hardware": machine.name, **plan.to_json()})
    else:
        _show(loaded, machine, request, plan)
        for note in (*rendered.notes, *plan.notes):
            output.say(f"note: {note}")
    return 0 if plan.fits else _say_too_large(request)


def _request(
    recipe: Recipe, rendered: Rendered, machine: HardwareProfile, lengths: tuple[int | None, float | None, int | None]
) -> PlanRequest:
    """What the planner is asked, from the recipe as it is rendered for the machine.

    Raises:
        PreflightError: the model's shapes are unknown, or the training is of a kind that is not modelled.
    """
    from lfwrap.plan.search import ACCUMULATION_KEY, MICRO_KEY, PlanRequest
    from lfwrap.recipe.recipe import Source

    values = rendered.engine
    if rendered.batch is None:
        raise PlanError("Micro-batch and accumulation must be whole numbers from 1.", hint="Correct them.")
    _require_known_kind(values.get("stage", "sft"), values.get("finetuning_type", "lora"))
    model = _model(recipe)
    _require_targets(model, values.get("finetuning_type", "lora"), values.get("lora_target", "all"))
    own_micro = recipe.sources.get(MICRO_KEY) is Source.RECIPE
    given = set(recipe.sources)
    if recipe.sources.get(ACCUMULATION_KEY) is not Source.COMMAND_LINE:
        given.discard(ACCUMULATION_KEY)
    return PlanRequest(
        model=model,
        values=values,
        hardware=machine,
        world_size=rendered.world_size,
        rows=_rows(values.get("cutoff_len", _DEFAULT_CUTOFF), *lengths),
        batch=rendered.batch,
        zero_stage=recipe.intent.zero_stage if rendered.deepspeed else None,
        offload=recipe.intent.offload,
        effective_batch=recipe.intent.effective_batch_size if recipe.has_intent else None,
        speed=recipe.intent.speed,
        given=frozenset(given),
        micro_limit=values[MICRO_KEY] if own_micro else recipe.intent.max_micro_batch,
    )


def _require_known_kind(stage: str, method: str) -> None:
    if stage not in _STAGES or method not in _METHODS:
        raise PreflightError(
            f"stage: {stage}, finetuning_type: {method}: its memory is not modelled.",
            hint=f"lfwrap plan knows the stages {' and '.join(sorted(_STAGES))} with lora and full.",
        )


def _require_targets(model: ModelFacts, method: str, target: object) -> None:
    from lfwrap.plan.choices import Choices, read_target

    names = read_target(target)
    if method == "lora" and not Choices("lora", 1, 1, target=names).targets(model):
        known = ", ".join(linear.name for linear in model.linears)
        raise PreflightError(f"lora_target: {names}: no linear layer of {model.name}.", hint=f"It has {known}; or all.")


def _model(recipe: Recipe) -> ModelFacts:
    from lfwrap.model.facts import load_model_facts

    facts = load_model_facts(recipe.model) if recipe.model else None
    if facts is None:
        raise PreflightError(
            f"{recipe.model or 'No model'}: its shapes are not known.",
            hint="Name the folder of a downloaded model with model_name_or_path=DIR, or a model of the catalogue.",
        )
    if facts.is_quantized:
        raise PreflightError(
            f"{facts.name}: a checkpoint that is quantised already is not modelled.",
            hint="Plan with its 16-bit original and quantization_bit=4.",
        )
    return facts


def _rows(cutoff: int, longest: int | None, mean: float | None, count: int | None) -> Rows:
    from lfwrap.plan.search import Rows

    longest_tokens = min(longest or cutoff, cutoff)
    return Rows(longest_tokens, None if mean is None else min(mean, float(longest_tokens)), count)


def _show(recipe: Recipe, machine: HardwareProfile, request: PlanRequest, plan: Plan) -> None:
    from lfwrap.plan.plan import describe
    from lfwrap.units import format_bytes, format_duration

    option, memory = plan.option, plan.option.memory
    output.result(f"{request.model.name} on {machine.name}: {describe(option.changes)}")
    output.result(f"batch: {option.batch} (micro-batch × accumulation × processes)")
    for key, (value, reason) in option.changes.items():
        output.result(f"  {key}: {value}  {reason}")
    output.result(f"\nmemory of one GPU, widest at: {memory.moment}")
    for term in memory.terms:
        output.result(
            f"  {format_bytes(term.bytes):>10}  {term.name:<24} {term.formula}  [{term.source}; {term.holds}]"
        )
    output.result(f"  {format_bytes(memory.peak_allocated_bytes):>10}  peak allocated")
    output.result(f"  {format_bytes(memory.device_bytes):>10}  of {format_bytes(option.limit_bytes)} that may be used")
    if option.speed is not None:
        speed = option.speed
        output.result(f"\nspeed: {speed.tokens_per_s:,.0f} tokens/s, {speed.step_s:.1f} s an update ({speed.basis})")
    if plan.steps is not None:
        time = "" if plan.duration_s is None else f", about {format_duration(plan.duration_s)}"
        output.result(f"steps: {plan.steps}{time}")
    output.result(f"disk: {format_bytes(plan.checkpoint_bytes)} a checkpoint, {format_bytes(plan.disk_bytes)} in all")
    if plan.rejected:
        output.result("\nnot taken:")
    for each in plan.rejected:
        output.result(f"  {each.settings}: {each.why}")
    if plan.fits:
        output.result(f"\n{train_line(recipe, plan)}")


def train_line(recipe: Recipe, plan: Plan) -> str:
    """The command that runs the plan."""
    import shlex

    from lfwrap.recipe.keys import show as show_value

    own = [f"{key}={show_value(value)}" for key, value in recipe.overrides.items()]
    return shlex.join(["lfwrap", "train", str(recipe.path), *own, *plan.overrides])


def _say_too_large(request: PlanRequest) -> int:
    """Say what would fit instead of what the recipe says; returns the exit code."""
    from lfwrap.plan.nearest import nearest_plans

    texts = [text for _, text in zip(range(3), nearest_plans(request), strict=False)]
    output.say("It does not fit." + (f" Would fit: {'; '.join(texts)}." if texts else ""))
    return PlanError.exit_code
