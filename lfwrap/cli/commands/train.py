"""``lfwrap train``: check, render, launch, follow, record."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import QUIET, RUNS_DIR, takes
from lfwrap.cli.options.launch import NodeArgs, launcher_option, node_options
from lfwrap.cli.options.supervision import SupervisionArgs, supervision_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.prepare.job import TrainRequest


@dataclass(frozen=True, slots=True)
class TrainArgs:
    """The command line of `lfwrap train`.

    Attributes:
        recipe: path or bundled name of the recipe; a run to start from may stand for it.
        overrides: ``KEY=VALUE`` texts.
        runs_dir: the folder of the runs.
        name: the run's name, instead of the recipe's.
        resume: the run to go on with.
        continue_from_adapter: the run or folder whose adapter a new run starts from.
        hardware: ``auto``, a machine's name or a profile file.
        gpus: GPUs (on a CPU, processes) to use on each node.
        launcher: ``auto`` or a launcher's name.
        nodes: the nodes, and the options of a scheduler.
        dry_run: only show what would be run.
        force: train what would learn nothing, or a large model on a CPU.
        no_lock: plan without what `lfwrap tune` has measured.
        supervision: how the training is looked after.
        as_json: print one JSON object at the end.
        quiet: show no progress.
        verbose: say where each rendered value comes from.
    """

    recipe: str | None
    overrides: tuple[str, ...]
    runs_dir: Path
    name: str | None
    resume: str | None
    continue_from_adapter: str | None
    hardware: str
    gpus: int | None
    launcher: str
    nodes: NodeArgs
    dry_run: bool
    force: bool
    no_lock: bool
    supervision: SupervisionArgs
    as_json: bool
    quiet: bool
    verbose: bool


@click.command()
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@RUNS_DIR
@click.option("--name", help="Name of the run, instead of the recipe's.")
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with this run, as `lfwrap runs resume` does; all values must be those it has.",
)
@click.option(
    "--continue-from-adapter",
    metavar="RUN|FOLDER",
    help="Start a new run from this adapter's weights; without RECIPE, with the recipe of its run.",
)
@click.option(
    "--hardware",
    default="auto",
    show_default=True,
    help="The machine: auto, a name of `lfwrap hardware list`, or a profile file.",
)
@click.option(
    "--gpus", type=click.IntRange(min=1), help="GPUs to use on each node (processes on a CPU); all of them by default."
)
@launcher_option(
    "How to start the processes; auto takes one process for one device, torchrun for more, deepspeed with a hostfile."
    " slurm and skypilot hand the run to a scheduler.",
    with_schedulers=True,
)
@node_options
@click.option("--dry-run", is_flag=True, help="Show the rendered files and the exact command; write nothing.")
@click.option(
    "--force",
    is_flag=True,
    help="Train even what would learn nothing, or a model of more than 1 B parameters on a CPU.",
)
@click.option("--no-lock", is_flag=True, help="Plan anew, whatever `lfwrap tune` has measured for this recipe.")
@supervision_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@QUIET
@click.option("-v", "--verbose", is_flag=True, help="Say where each rendered value comes from.")
@takes(TrainArgs)
def command(args: TrainArgs) -> int:
    r"""Train a recipe: check everything, render it for this machine, launch the engine, follow it, keep a record.

    RECIPE is a YAML file with LLaMA-Factory's keys, or the name of a bundled one. KEY=VALUE replaces single values.

    \b
    Example:
      lfwrap train recipes/smoke.yaml
      lfwrap train recipes/paper.yaml dataset=law dataset_dir=data/law --gpus 4
      lfwrap train recipes/paper.yaml --hardware h100-80gb --dry-run
      lfwrap train recipes/paper.yaml --detach --on-stall stop
      lfwrap train recipes/paper.yaml --nnodes 2 --node-rank 0 --master-addr node-0
      lfwrap train recipes/paper.yaml --hardware 8x-h100-80gb --launcher slurm --job partition=gpu
      lfwrap train --resume latest
      lfwrap train recipes/paper.yaml dataset=more --continue-from-adapter latest
    """
    from lfwrap.invocation import Invocation

    request = _read_request(args)
    invocation = Invocation(Path.cwd(), dict(os.environ))
    if args.resume:
        return _resume(request, args.resume, args, invocation)
    if args.continue_from_adapter:
        request = _continue_from_adapter(request, args.continue_from_adapter, invocation)
    if args.dry_run:
        from lfwrap.cli.view.job import show_job
        from lfwrap.run.prepare.job import preview_job

        return show_job(preview_job(request, invocation), as_json=args.as_json, verbose=args.verbose)
    if request.launch.nodes.rank > 0:
        from lfwrap.cli.view.joining import join_from_train

        return join_from_train(
            request, invocation, show_example=args.supervision.show_example, quiet=args.quiet, as_json=args.as_json
        )
    return _start(request, invocation, args)


def _read_request(args: TrainArgs) -> TrainRequest:
    """What is asked for.

    Raises:
        UsageError: there is neither a recipe nor a run to start from, or both ways of starting from a run are named.
    """
    from lfwrap.run.prepare.job import TrainRequest

    recipe, overrides = _find_recipe(args)
    return TrainRequest(
        recipe=recipe,
        overrides=overrides,
        runs_dir=args.runs_dir,
        name=args.name,
        hardware=args.hardware,
        gpus=args.gpus,
        launcher=args.launcher,
        launch=args.nodes.launch_options(os.environ),
        force=args.force,
        is_dry=args.dry_run,
        use_lock=not args.no_lock,
    )


def _find_recipe(args: TrainArgs) -> tuple[str, tuple[str, ...]]:
    """RECIPE ("" where a run to start from stands for it) and the values that replace single ones of it."""
    if args.resume and args.continue_from_adapter:
        raise UsageError("--resume goes on with a run, --continue-from-adapter starts a new one.", hint="Give one.")
    starts_from_run = args.resume or args.continue_from_adapter
    if args.recipe is not None and starts_from_run and "=" in args.recipe and not Path(args.recipe).exists():
        return "", (args.recipe, *args.overrides)
    if args.recipe is None and not starts_from_run:
        raise UsageError("Missing argument 'RECIPE'.", hint="`lfwrap recipe list` names the bundled recipes.")
    return args.recipe or "", args.overrides


def _resume(request: TrainRequest, name: str, args: TrainArgs, invocation: Invocation) -> int:
    """Go on with a run as `lfwrap runs resume` does; a recipe or values, when given, must be those of the run.

    Raises:
        UsageError: options that only a new run takes.
        RunStateError: the run can't go on, or what was given differs from what it was made of.
    """
    from lfwrap.cli.commands.runs_resume import ResumeArgs, resume_run
    from lfwrap.run.again.resume import require_same_recipe
    from lfwrap.run.folder.record import load_run
    from lfwrap.run.prepare.job import load_request

    if request.name is not None or request.hardware != "auto":
        raise UsageError("--resume takes neither --name nor --hardware: the run has both.", hint="Leave them out.")
    found = load_run(name, request.runs_dir)
    if request.recipe or request.overrides:
        asked = replace(request, recipe=request.recipe or str(found.paths.recipe))
        require_same_recipe(found, load_request(asked, invocation))
    resumed = ResumeArgs(
        run=name,
        runs_dir=args.runs_dir,
        gpus=args.gpus,
        launcher=args.launcher,
        meeting=args.nodes.meeting,
        take_over=False,
        dry_run=args.dry_run,
        supervision=args.supervision,
        as_json=args.as_json,
        quiet=args.quiet,
    )
    return resume_run(found, resumed, invocation)


def _continue_from_adapter(request: TrainRequest, name: str, invocation: Invocation) -> TrainRequest:
    """The request of a new run that starts from the weights of an adapter: that of a run, or a folder.

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
                f"--continue-from-adapter {name}: a folder does not say which data and batch to train with.",
                hint="Name a recipe, too.",
            )
        request = replace(request, recipe=str(source.run.paths.recipe), name=request.name or source.run.record.recipe)
    added = adapter_overrides(source, load_request(request, invocation), invocation.cwd)
    output.say(f"starting from the weights of {source.name}; optimizer and schedule begin anew")
    return replace(request, overrides=(*request.overrides, *added))


def _start(request: TrainRequest, invocation: Invocation, args: TrainArgs) -> int:
    """Make the run and start it: here, in the background, or by a scheduler. Returns the exit code."""
    from lfwrap.cli.view.following import detach_run, follow_run, submit_run
    from lfwrap.cli.view.job import show_start
    from lfwrap.run.prepare.start import create_run

    job, run = create_run(request, invocation)
    if not args.quiet:
        show_start(job, verbose=args.verbose)
    if job.launcher.is_scheduler:
        return submit_run(job, run, as_json=args.as_json)
    if args.supervision.detach:
        return detach_run(run, invocation, args.supervision.words, as_json=args.as_json)
    from lfwrap.run.supervise.attempt import Attempt

    attempt = args.supervision.apply(Attempt(job.command, job.rendered.engine, invocation.environ))
    return follow_run(run, attempt, as_json=args.as_json, quiet=args.quiet)
