"""``lfwrap train``: check, render, launch, follow, record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.launch import STARTERS, launcher_option, node_options, parse_launch
from lfwrap.cli.options.supervision import detached_arguments, supervised, supervision_options
from lfwrap.cli.view import output
from lfwrap.cli.view.following import detach_run, follow_run

if TYPE_CHECKING:
    from lfwrap.errors import Finding
    from lfwrap.invocation import Invocation
    from lfwrap.run.prepare.job import Job, TrainRequest


@click.command()
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of the runs."
)
@click.option("--name", help="Name of the run, instead of the recipe's.")
@click.option("--resume", metavar="RUN", help="Go on with this run, as `lfwrap runs resume`; all else must be its own.")
@click.option(
    "--continue-from-adapter",
    metavar="RUN|FOLDER",
    help="A new run that trains on from this adapter's weights; without RECIPE by the run's own.",
)
@click.option(
    "--hardware",
    default="auto",
    show_default=True,
    help="auto, a machine of `lfwrap hardware list`, or a profile file.",
)
@click.option(
    "--gpus", type=click.IntRange(min=1), help="GPUs to use on each node (processes on a CPU); all of them by default."
)
@launcher_option(
    (*STARTERS, "slurm", "skypilot"),
    "How to start the processes; auto takes one process for one device, torchrun for more, deepspeed with a hostfile."
    " slurm and skypilot hand the run to a scheduler.",
)
@node_options
@click.option("--dry-run", is_flag=True, help="Show the rendered files and the exact command; write nothing.")
@click.option("--force", is_flag=True, help="Train a model of more than 1 B parameters on a CPU all the same.")
@click.option("--no-lock", is_flag=True, help="Plan anew, whatever `lfwrap tune` has measured for this recipe.")
@click.option("--show-example", is_flag=True, help="Keep the training example that the engine prints, in the log.")
@supervision_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Say where each rendered value comes from.")
def command(recipe: str | None, overrides: tuple[str, ...], **options: Any) -> int:
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
    from lfwrap.cli.commands.runs_resume import continue_from_adapter, require_recipe, resume_from_train
    from lfwrap.invocation import Invocation

    recipe, overrides = require_recipe(recipe, overrides, options)
    request = _read_request(recipe, overrides, options)
    surroundings = Invocation(Path.cwd(), dict(os.environ))
    if options["resume"]:
        return resume_from_train(request, options["resume"], surroundings, options)
    if options["continue_from_adapter"]:
        request = continue_from_adapter(request, options["continue_from_adapter"], surroundings)
    if options["dry_run"]:
        from lfwrap.run.prepare.start import preview_job

        return show_job(preview_job(request, surroundings), as_json=options["as_json"], verbose=options["verbose"])
    if request.launch.nodes.rank > 0:
        from lfwrap.cli.commands.nodes import join_from_train

        return join_from_train(request, surroundings, options)
    return _start(request, surroundings, options)


def _read_request(recipe: str, overrides: tuple[str, ...], options: dict[str, Any]) -> TrainRequest:
    """The request that the options make."""
    from lfwrap.run.prepare.job import TrainRequest

    return TrainRequest(
        recipe=recipe,
        overrides=overrides,
        runs_dir=options["runs_dir"],
        name=options["name"],
        hardware=options["hardware"],
        gpus=options["gpus"],
        launcher=options["launcher"],
        launch=parse_launch(options, os.environ),
        force=options["force"],
        is_dry=options["dry_run"],
        use_lock=not options["no_lock"],
    )


def _start(request: TrainRequest, surroundings: Invocation, options: dict[str, Any]) -> int:
    """Make the run and start it: here, in the background, or by a scheduler. Returns the exit code."""
    from lfwrap.run.prepare.start import create_run

    job, run = create_run(request, surroundings)
    if not options["quiet"]:
        show_start(job, verbose=options["verbose"])
    if job.launcher.is_scheduler:
        from lfwrap.cli.commands.nodes import submit_run

        return submit_run(job, run, as_json=options["as_json"])
    if options["detach"]:
        return detach_run(run, surroundings, detached_arguments(options), as_json=options["as_json"])
    from lfwrap.run.supervise.attempt import Attempt

    attempt = Attempt(job.command, job.rendered.engine, surroundings.environ, options["show_example"])
    return follow_run(run, supervised(attempt, options), as_json=options["as_json"], quiet=options["quiet"])


def show_findings(findings: tuple[Finding, ...]) -> None:
    """Warnings and notes that do not stop the run, on stderr."""
    for finding in findings:
        output.say(f"{finding.severity}: {finding}")


def show_start(job: Job, *, verbose: bool) -> None:
    """What is going to happen, in a few lines on stderr."""
    show_findings(job.report.warnings)
    for note in job.notes:
        output.say(f"note: {note}")
    if verbose:
        show_values(job)
    if job.rendered.batch is not None:
        output.say(f"batch: {job.rendered.batch} (micro-batch × accumulation × processes)")
    output.say(f"run: {job.paths.root}")
    if verbose:
        output.say(f"$ {job.command.quoted}")


def show_values(job: Job) -> None:
    """Each rendered value with its source, on stderr."""
    for value in job.rendered.values:
        output.say(f"  {value.key}: {value.value}  ({value.source}{': ' + value.reason if value.reason else ''})")


def show_job(job: Job, *, as_json: bool, verbose: bool) -> int:
    """The rendered files, the exact command and the environment it adds, on stdout; findings on stderr."""
    error = job.report.to_error()
    if error is not None:
        raise error
    if as_json:
        output.print_json("dry-run", _job_json(job))
        return 0
    show_findings(job.report.warnings)
    for note in job.notes:
        output.say(f"note: {note}")
    if verbose:
        show_values(job)
    output.result(f"# {job.paths.engine_yaml}\n{job.rendered.engine_yaml}")
    if job.rendered.deepspeed is not None:
        import orjson

        text = orjson.dumps(job.rendered.deepspeed, option=orjson.OPT_INDENT_2).decode()
        output.result(f"# {job.paths.deepspeed}\n{text}\n")
    for path, text in job.command.files.items():
        output.result(f"# {path}\n{text}")
    if job.rendered.batch is not None:
        output.result(f"# batch: {job.rendered.batch} (micro-batch × accumulation × processes)")
    output.result(f"# in {job.command.cwd}")
    environment = job.command.quoted_environment
    output.result(f"{environment} \\\n  {job.command.quoted}" if environment else job.command.quoted)
    return 0


def _job_json(job: Job) -> dict[str, Any]:
    batch = job.rendered.batch
    return {
        "path": str(job.paths.root),
        "engine": job.rendered.engine,
        "engine_yaml": job.rendered.engine_yaml,
        "deepspeed": job.rendered.deepspeed,
        "world_size": job.rendered.world_size,
        "effective_batch_size": batch.effective if batch else None,
        "micro_batch_size": batch.micro_batch if batch else None,
        "gradient_accumulation_steps": batch.accumulation if batch else None,
        "launcher": job.launcher.name,
        "files": {str(path): text for path, text in job.command.files.items()},
        "command": job.command.to_json(),
        "values": [value.to_json() for value in job.rendered.values],
        "notes": list(job.notes),
        "findings": [finding.to_json() for finding in job.report.findings],
    }
