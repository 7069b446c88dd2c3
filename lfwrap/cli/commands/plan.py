"""``lfwrap plan``: what fits a machine, how fast it goes, and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, RUNS_DIR, takes
from lfwrap.cli.view import output
from lfwrap.errors import PlanError

if TYPE_CHECKING:
    from lfwrap.hardware.profile import HardwareProfile
    from lfwrap.plan.inputs.row_lengths import RowLengths
    from lfwrap.plan.plan import Plan
    from lfwrap.plan.request import PlanRequest
    from lfwrap.plan.schedule import Schedule
    from lfwrap.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PlanArgs:
    """The command line of `lfwrap plan`.

    Attributes:
        recipe: path or bundled name of the recipe.
        overrides: ``KEY=VALUE`` texts.
        hardware: ``auto``, a machine's name or a profile file.
        world_size: processes; None takes one for each GPU.
        longest_row: tokens of the longest row, instead of the data's.
        mean_row: mean tokens of a row, instead of the data's.
        row_count: rows of an epoch, instead of the data's.
        fixed: predict what the recipe says, without a search.
        calibrate: the run whose measurements correct plans from now on.
        runs_dir: the folder of the runs.
        as_json: print one JSON object.
    """

    recipe: str | None
    overrides: tuple[str, ...]
    hardware: str
    world_size: int | None
    longest_row: int | None
    mean_row: float | None
    row_count: int | None
    fixed: bool
    calibrate: str | None
    runs_dir: Path
    as_json: bool


@click.command("plan")
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--hardware", metavar="NAME|FILE|auto", default="auto", show_default=True, help="The machine to plan for."
)
@click.option(
    "--gpus", "world_size", type=click.IntRange(min=1), help="Number of processes; by default one for each GPU."
)
@click.option("--longest-row", type=click.IntRange(min=1), help="Tokens of the longest row, instead of the data's.")
@click.option("--mean-row", type=click.FloatRange(min=1), help="Mean tokens of a row, instead of the data's.")
@click.option("--rows", "row_count", type=click.IntRange(min=1), help="Rows of an epoch, instead of the data's.")
@click.option("--fixed", is_flag=True, help="Predict exactly what the recipe says, without a search.")
@click.option("--calibrate", metavar="RUN", help="From now on, correct plans by what this run measured.")
@RUNS_DIR
@AS_JSON
@takes(PlanArgs)
def command(args: PlanArgs) -> int:
    r"""Find the fastest way to run a recipe that fits a machine: memory term by term, tokens a second, why.

    `lfwrap train` follows the same plan. Row lengths are counted in the recipe's data where they can be read here.
    Nothing fits: exit code 5, with the nearest that does.

    \b
    Example:
      lfwrap plan recipes/paper.yaml --hardware h100-80gb
      lfwrap plan recipes/paper.yaml --hardware t4 quantization_bit=4 cutoff_len=1024
      lfwrap plan my.yaml --hardware 2x-h200 --mean-row 170 --longest-row 700 --rows 52000
      lfwrap plan --calibrate latest
    """
    if args.calibrate is not None:
        _calibrate(args.calibrate, args.runs_dir, as_json=args.as_json and args.recipe is None)
    elif args.recipe is None:
        raise click.MissingParameter(param_type="argument", param_hint="RECIPE")
    return 0 if args.recipe is None else _plan(args.recipe, args)


def _calibrate(name: str, runs_dir: Path, *, as_json: bool) -> None:
    """Put what a run measured on file."""
    from lfwrap.engine.locate import locate_engine
    from lfwrap.run.folder.record import load_run
    from lfwrap.strategy.planning import add_measurement
    from lfwrap.tuning.calibrate import measure_run
    from lfwrap.units import format_bytes

    found = measure_run(load_run(name, runs_dir), locate_engine())
    path = add_measurement(found)
    if as_json:
        output.print_json("calibration", {"file": str(path), "measurement": found.to_json()})
        return
    predicted, measured = format_bytes(found.predicted_peak_bytes), format_bytes(found.peak_allocated_bytes)
    output.result(f"{found.run} on {found.device}: {found.kind}")
    output.result(f"peak allocated: {measured}, predicted {predicted} ({found.peak_ratio - 1:+.2%})")
    output.result(f"outside the allocator: {format_bytes(found.outside_bytes)}")
    if found.pace_ratio is not None:
        pace = f"{found.update_s:.2f} s, predicted {found.predicted_update_s:.2f} s ({found.pace_ratio - 1:+.0%})"
        output.result(f"an update: {pace}")
    output.say(f"Kept in {path}; plans for this kind of GPU with these versions use it from now on.")


def _plan(recipe: str, args: PlanArgs) -> int:
    """Plan, show the plan, return the exit code."""
    from lfwrap.cli.view.job import show_findings
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import find_engine
    from lfwrap.hardware.load import load_hardware
    from lfwrap.hardware.profile import choose_world_size
    from lfwrap.plan.plan import make_plan, predict_plan
    from lfwrap.recipe.check import check_recipe, require_valid
    from lfwrap.recipe.inputs.data_size import settle_size
    from lfwrap.recipe.recipe import load_recipe
    from lfwrap.recipe.values import resolve_values
    from lfwrap.run.preflight.schedule import check_schedule
    from lfwrap.strategy.foretell import plan_schedule
    from lfwrap.strategy.planning import dataset_folder, find_machine, may_change, plan_request

    profile, engine = load_hardware(args.hardware), find_engine()
    processes, facts = choose_world_size(args.world_size, profile), load_engine_facts(engine)
    loaded = settle_size(load_recipe(recipe, args.overrides), Path.cwd(), lambda: processes)
    require_valid(loaded, check_recipe(loaded, facts, profile))
    folder = dataset_folder(loaded)
    machine = find_machine(profile, processes, engine, folder, is_here=args.hardware == "auto")
    values = resolve_values(loaded, facts, profile, processes)
    by_hand = _rows(args)
    request = plan_request(values, machine, by_hand)
    plan = make_plan(request) if may_change(request) and not args.fixed else predict_plan(request)
    schedule = plan_schedule(request, plan.candidate)
    if args.as_json:
        found = {"recipe": str(loaded.path), "hardware": profile.name, **plan.to_json()}
        output.print_json("plan", {**found, "schedule": schedule.to_json() if schedule else None})
    else:
        _show(profile, request, plan, schedule)
        if plan.fits:
            output.result(f"\n{train_line(loaded, plan, is_pinned=by_hand is not None)}")
        show_findings(tuple(check_schedule(schedule, loaded, force=True)))
        for note in (*values.notes, *plan.notes):
            output.say(f"note: {note}")
    return 0 if plan.fits else _say_too_large(request)


def _rows(args: PlanArgs) -> RowLengths | None:
    """The row lengths of the command line; None where it has none."""
    from lfwrap.plan.inputs.row_lengths import RowLengths

    if args.longest_row is None and args.mean_row is None and args.row_count is None:
        return None
    return RowLengths(args.longest_row or sys.maxsize, args.mean_row, args.row_count)


def _show(machine: HardwareProfile, request: PlanRequest, plan: Plan, schedule: Schedule | None) -> None:
    from lfwrap.plan.explain import describe
    from lfwrap.units import format_bytes, format_duration

    candidate, memory = plan.candidate, plan.candidate.memory
    output.result(f"{request.model.name} on {machine.name}: {describe(candidate.changes)}")
    output.result(f"batch: {candidate.batch} (micro-batch × accumulation × processes)")
    for key, (value, reason) in candidate.changes.items():
        output.result(f"  {key}: {value}  {reason}")
    output.result(f"\nmemory of one GPU, widest at: {memory.phase}")
    for term in memory.terms:
        output.result(
            f"  {format_bytes(term.bytes):>10}  {term.name:<24} {term.formula}  [{term.source}; {term.holds}]"
        )
    output.result(f"  {format_bytes(memory.peak_allocated_bytes):>10}  peak allocated")
    output.result(
        f"  {format_bytes(memory.device_bytes):>10}  of {format_bytes(candidate.limit_bytes)} that may be used"
    )
    if candidate.speed is not None:
        speed = candidate.speed
        output.result(f"\nspeed: {speed.tokens_per_s:,.0f} tokens/s, {speed.step_s:.1f} s an update ({speed.basis})")
    if plan.steps is not None:
        time = "" if plan.duration_s is None else f", about {format_duration(plan.duration_s)}"
        output.result(f"steps: {plan.steps}{time}")
    if schedule is not None:
        output.result(f"schedule: {schedule}")
    output.result(f"disk: {format_bytes(plan.checkpoint_bytes)} a checkpoint, {format_bytes(plan.disk_bytes)} in all")
    if plan.rejected:
        output.result("\nnot taken:")
    for each in plan.rejected:
        output.result(f"  {each.settings}: {each.why}")


def train_line(recipe: Recipe, plan: Plan, *, is_pinned: bool) -> str:
    """The command that runs the plan: `lfwrap train` makes the same one by itself, unless row lengths came by hand."""
    import shlex

    from lfwrap.recipe.keys import show as show_value

    own = [f"{key}={show_value(value)}" for key, value in recipe.overrides.items()]
    return shlex.join(["lfwrap", "train", str(recipe.path), *own, *(plan.overrides if is_pinned else ())])


def _say_too_large(request: PlanRequest) -> int:
    """Say what would fit instead of what the recipe says; returns the exit code."""
    from lfwrap.plan.explain import suggest_plans

    texts = [text for _, text in zip(range(3), suggest_plans(request), strict=False)]
    output.say("It does not fit." + (f" Would fit: {'; '.join(texts)}." if texts else ""))
    return PlanError.exit_code
