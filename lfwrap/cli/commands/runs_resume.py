"""``lfwrap runs resume``, and ``lfwrap train`` with ``--resume`` or ``--continue-from-adapter``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.launch import STARTERS, launcher_option, meeting_options, parse_meeting
from lfwrap.cli.options.runs import AS_JSON, RUNS_DIR
from lfwrap.cli.options.supervision import detached_arguments, supervised, supervision_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.again.resume import ResumePlan
    from lfwrap.run.folder.record import Run
    from lfwrap.run.prepare.job import TrainRequest


@click.command("resume")
@click.argument("run", default="latest")
@RUNS_DIR
@click.option("--gpus", type=click.IntRange(min=1), help="For certainty: refused when it is not the run's number.")
@launcher_option(STARTERS, "How to start the processes; auto keeps the run's own way.")
@meeting_options
@click.option(
    "--take-over",
    is_flag=True,
    help="Go on although the record says that the run goes on elsewhere: its machine is known to be gone.",
)
@click.option("--dry-run", is_flag=True, help="Show the checkpoint and the command; start nothing.")
@click.option("--show-example", is_flag=True, help="Keep the training example that the engine prints, in the log.")
@supervision_options
@AS_JSON
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def resume_command(run: str, runs_dir: Path, **options: Any) -> int:
    r"""Go on with a run from its newest whole checkpoint, with the very same settings and data.

    \b
    Example:
      lfwrap runs resume latest
      lfwrap runs resume latest --node-rank 1
    """
    from lfwrap.invocation import Invocation
    from lfwrap.run.folder.record import load_run

    return _resume(load_run(run, runs_dir), Invocation(Path.cwd(), dict(os.environ)), options)


def require_recipe(
    recipe: str | None, overrides: tuple[str, ...], options: dict[str, Any]
) -> tuple[str, tuple[str, ...]]:
    """RECIPE and values as `lfwrap train` takes them; with a run to start from, RECIPE may be left out ("" then).

    Raises:
        UsageError: there is neither a recipe nor a run, or both ways of going on were asked for.
    """
    if options["resume"] and options["continue_from_adapter"]:
        raise UsageError("--resume goes on with a run, --continue-from-adapter starts a new one.", hint="Give one.")
    starts_from_run = options["resume"] or options["continue_from_adapter"]
    if recipe is not None and starts_from_run and "=" in recipe and not Path(recipe).exists():
        return "", (recipe, *overrides)
    if recipe is None and not starts_from_run:
        raise UsageError("Missing argument 'RECIPE'.", hint="`lfwrap recipe list` names the bundled recipes.")
    return recipe or "", overrides


def resume_from_train(request: TrainRequest, name: str, surroundings: Invocation, options: dict[str, Any]) -> int:
    """`lfwrap train --resume RUN`: as `runs resume`; a recipe or values, when given, must be those of the run.

    Raises:
        UsageError: options that only a new run takes.
        RunStateError: the run can't go on, or what was given differs from what it was made of.
    """
    from lfwrap.run.again.resume import require_same_recipe
    from lfwrap.run.folder.record import load_run
    from lfwrap.run.prepare.job import load_request

    if request.name is not None or request.hardware != "auto":
        raise UsageError("--resume takes neither --name nor --hardware: the run has both.", hint="Leave them out.")
    found = load_run(name, request.runs_dir)
    if request.recipe or request.overrides:
        asked = replace(request, recipe=request.recipe or str(found.paths.recipe))
        require_same_recipe(found, load_request(asked, surroundings))
    return _resume(found, surroundings, options)


def continue_from_adapter(request: TrainRequest, name: str, surroundings: Invocation) -> TrainRequest:
    """The request of a new run that trains on from the adapter of a run or a folder.

    Raises:
        RunStateError: there is no such adapter, or it is not whole.
        RecipeError: the recipe does not agree with it; all differences.
        UsageError: a folder was named, and no recipe.
    """
    from lfwrap.run.prepare.adapter import adapter_overrides, find_adapter
    from lfwrap.run.prepare.job import load_request

    source = find_adapter(name, request.runs_dir)
    if not request.recipe:
        if source.run is None:
            raise UsageError(
                f"--continue-from-adapter {name}: a folder says nothing of data and batch.", hint="Name a recipe, too."
            )
        request = replace(request, recipe=str(source.run.paths.recipe), name=request.name or source.run.record.recipe)
    added = adapter_overrides(source, load_request(request, surroundings), surroundings.cwd)
    output.say(f"training on from {source.name}: its weights; optimizer and schedule begin anew")
    return replace(request, overrides=(*request.overrides, *added))


def _resume(found: Run, surroundings: Invocation, options: dict[str, Any]) -> int:
    from lfwrap.cli.view.following import detach_run, follow_run
    from lfwrap.run.again.resume import plan_resume
    from lfwrap.run.launch.launch import load_launch

    nodes = parse_meeting(options, load_launch(found.paths).nodes)
    if nodes.rank > 0:
        from lfwrap.cli.commands.nodes import join_from_resume

        return join_from_resume(found, nodes, surroundings, options)
    plan = plan_resume(
        found,
        surroundings,
        gpus=options["gpus"],
        launcher=options["launcher"],
        show_example=options["show_example"],
        nodes=nodes,
        take_over=options.get("take_over", False),
    )
    found = plan.run
    _show_plan(plan)
    if options["dry_run"]:
        command = plan.attempt.command
        if options["as_json"]:
            output.print_json("resume-plan", plan.to_json())
        else:
            output.result(f"{command.quoted_environment} \\\n  {command.quoted}")
        return 0
    if options["detach"]:
        return detach_run(found, surroundings, detached_arguments(options), as_json=options["as_json"])
    attempt = supervised(plan.attempt, options)
    return follow_run(found, attempt, as_json=options["as_json"], quiet=options["quiet"], before_start=plan.clear)


def _show_plan(plan: ResumePlan) -> None:
    for broken in plan.broken:
        output.say(f"warning: {broken.path.name} is not whole and is left out: {'; '.join(broken.problems)}.")
    for note in plan.notes:
        output.say(f"note: {note}")
    if plan.checkpoint is None:
        output.say("No whole checkpoint is left: starting again from step 0.")
    else:
        output.say(f"going on from {plan.checkpoint.path.name}")
