"""``lfwrap runs resume``: go on with a run from its newest whole checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, QUIET, RUNS_DIR, takes
from lfwrap.cli.options.launch import MeetingArgs, launcher_option, meeting_options
from lfwrap.cli.options.supervision import SupervisionArgs, supervision_options
from lfwrap.cli.view import output

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.again.resume import ResumePlan
    from lfwrap.run.folder.record import Run


@dataclass(frozen=True, slots=True)
class ResumeArgs:
    """The command line of `lfwrap runs resume`.

    Attributes:
        run: the run, as typed.
        runs_dir: the folder of the runs.
        gpus: processes; must be those of the run.
        launcher: ``auto`` keeps the run's own.
        meeting: how the nodes find each other at this start.
        take_over: the machine that the run is on by its record is known to be gone.
        dry_run: only show what would be done.
        supervision: how the training is looked after.
        as_json: print one JSON object.
        quiet: show no progress.
    """

    run: str
    runs_dir: Path
    gpus: int | None
    launcher: str
    meeting: MeetingArgs
    take_over: bool
    dry_run: bool
    supervision: SupervisionArgs
    as_json: bool
    quiet: bool

    @property
    def words(self) -> list[str]:
        """What was asked for as words of a command line, for the process in the background; it finds the run itself."""
        launcher = [] if self.launcher == "auto" else [f"--launcher={self.launcher}"]
        take_over = ["--take-over"] if self.take_over else []
        return [*launcher, *meeting_options.spell(self.meeting), *take_over, *self.supervision.words]


@click.command("resume")
@click.argument("run", default="latest")
@RUNS_DIR
@click.option("--gpus", type=click.IntRange(min=1), help="A safeguard: fail when the run has another number of GPUs.")
@launcher_option("How to start the processes; auto keeps the way in which the run was started.")
@meeting_options
@click.option(
    "--take-over",
    is_flag=True,
    help="Resume although the record says that another machine has the run: you know that it is gone.",
)
@click.option("--dry-run", is_flag=True, help="Show the checkpoint and the command; start nothing.")
@supervision_options
@AS_JSON
@QUIET
@takes(ResumeArgs)
def resume_command(args: ResumeArgs) -> int:
    r"""Go on with a run from its newest whole checkpoint, with the very same settings and data.

    \b
    Example:
      lfwrap runs resume latest
      lfwrap runs resume latest --node-rank 1
    """
    from lfwrap.invocation import Invocation
    from lfwrap.run.folder.record import load_run

    return resume_run(load_run(args.run, args.runs_dir), args, Invocation(Path.cwd(), dict(os.environ)))


def resume_run(run: Run, args: ResumeArgs, invocation: Invocation) -> int:
    """Go on with a run, here or in the background, or join it from another node. Returns the exit code.

    Raises:
        RunStateError: the run can't go on.
        EngineError: the engine failed; carries the diagnosis.
    """
    from lfwrap.cli.view.following import detach_run, follow_run
    from lfwrap.run.again.resume import ResumeRequest, plan_resume
    from lfwrap.run.launch.launch import load_launch

    nodes = args.meeting.nodes(load_launch(run.paths).nodes)
    show_example = args.supervision.show_example
    if nodes.rank > 0:
        from lfwrap.cli.view.joining import join_from_resume

        return join_from_resume(
            run, nodes, invocation, show_example=show_example, quiet=args.quiet, as_json=args.as_json
        )
    request = ResumeRequest(
        gpus=args.gpus, launcher=args.launcher, show_example=show_example, nodes=nodes, take_over=args.take_over
    )
    plan = plan_resume(run, invocation, request)
    _show_plan(plan)
    if args.dry_run:
        command = plan.attempt.command
        if args.as_json:
            output.print_json("resume-plan", plan.to_json())
        else:
            output.result(f"{command.quoted_environment} \\\n  {command.quoted}")
        return 0
    if args.supervision.detach:
        return detach_run(plan.run, invocation, args.words, as_json=args.as_json)
    attempt = args.supervision.apply(plan.attempt)
    return follow_run(plan.run, attempt, as_json=args.as_json, quiet=args.quiet, before_start=plan.clear)


def _show_plan(plan: ResumePlan) -> None:
    for broken in plan.broken:
        output.say(f"warning: {broken.path.name} is not whole and is left out: {'; '.join(broken.problems)}.")
    for note in plan.notes:
        output.say(f"note: {note}")
    if plan.checkpoint is None:
        output.say("No whole checkpoint is left: starting again from step 0.")
    else:
        output.say(f"going on from {plan.checkpoint.path.name}")
