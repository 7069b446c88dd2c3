"""``lfwrap runs replay``: do a run again as a new one."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, QUIET, RUNS_DIR, takes
from lfwrap.cli.view import output
from lfwrap.errors import RunStateError

if TYPE_CHECKING:
    from lfwrap.run.again.replay import ReplayPlan
    from lfwrap.run.folder.history import LossComparison
    from lfwrap.run.folder.record import Run


@dataclass(frozen=True, slots=True)
class ReplayArgs:
    """The command line of `lfwrap runs replay`.

    Attributes:
        run: the run, as typed.
        runs_dir: the folder of the runs.
        strict: differences are errors.
        dry_run: only say what differs.
        as_json: print one JSON object.
        quiet: show no progress.
    """

    run: str
    runs_dir: Path
    strict: bool
    dry_run: bool
    as_json: bool
    quiet: bool


@click.command("replay")
@click.argument("run", default="latest")
@RUNS_DIR
@click.option("--strict", is_flag=True, help="Refuse when anything differs, and fail when the losses differ.")
@click.option("--dry-run", is_flag=True, help="Only say what differs; start nothing.")
@AS_JSON
@QUIET
@takes(ReplayArgs)
def replay_command(args: ReplayArgs) -> int:
    r"""Do a run again as a new run: what differs is said first, the losses are compared afterwards.

    What may differ: versions, hardware, data, model, code, settings, environment variables.

    \b
    Example:
      lfwrap runs replay latest --dry-run
      lfwrap runs replay latest --strict
    """
    from lfwrap.invocation import Invocation
    from lfwrap.run.again.replay import plan_replay, require_no_differences
    from lfwrap.run.folder.record import load_run

    plan = plan_replay(load_run(args.run, args.runs_dir), args.runs_dir, Invocation(Path.cwd(), dict(os.environ)))
    for difference in plan.differences:
        output.say(f"differs: {difference}")
    if not plan.differences:
        output.say("Nothing differs: versions, hardware, data, model and settings are those of the run.")
    if args.strict:
        require_no_differences(plan)
    if args.dry_run:
        _show_dry(plan, as_json=args.as_json)
        return 0
    return _replay(plan, args)


def _show_dry(plan: ReplayPlan, *, as_json: bool) -> None:
    error = plan.job.report.to_error()
    if as_json:
        findings = [finding.to_json() for finding in plan.job.report.findings]
        output.print_json("replay-plan", {**_described(plan), "can_start": error is None, "findings": findings})
    elif error is not None:
        raise error
    else:
        output.result(f"{plan.job.command.quoted_environment} \\\n  {plan.job.command.quoted}")


def _described(plan: ReplayPlan) -> dict[str, Any]:
    return {
        "run": str(plan.run.paths.root),
        "differences": [difference.to_json() for difference in plan.differences],
    }


def _replay(plan: ReplayPlan, args: ReplayArgs) -> int:
    from lfwrap.cli.view.following import follow_run
    from lfwrap.run.again.replay import with_origin
    from lfwrap.run.folder.record import load_run, save_record
    from lfwrap.run.prepare.start import create_run
    from lfwrap.run.supervise.attempt import Attempt

    job, made = create_run(plan.request, plan.invocation)
    made = with_origin(made, plan.run)
    made = save_record(made.paths, made.record)
    output.say(f"run: {made.paths.root}")
    attempt = Attempt(job.command, job.rendered.engine, plan.invocation.environ)
    # With --json stdout is for the one object at the end.
    stdout = contextlib.redirect_stdout(sys.stderr) if args.as_json else contextlib.nullcontext()
    with stdout:
        code = follow_run(made, attempt, as_json=False, quiet=args.quiet)
    if code:
        return code
    return _compare(plan, load_run(made.paths.root), args)


def _compare(plan: ReplayPlan, again: Run, args: ReplayArgs) -> int:
    from lfwrap.run.folder.history import compare_losses
    from lfwrap.run.folder.monitor import load_history

    losses: LossComparison = compare_losses(
        load_history(plan.run.paths.trainer_log), load_history(again.paths.trainer_log)
    )
    output.say(str(losses))
    if args.as_json:
        output.print_json("replay", {**_described(plan), "path": str(again.paths.root), "losses": losses.to_json()})
    if args.strict and not losses.is_same:
        raise RunStateError(f"{again.paths.name}: {losses}", hint="The record shows no other difference.")
    return 0
