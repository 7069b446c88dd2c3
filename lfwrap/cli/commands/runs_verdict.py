"""``lfwrap runs verdict``: look at a run's result again, and say whether its model has learned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from lfwrap.cli.options.args import AS_JSON, RUNS_DIR, takes
from lfwrap.cli.view import output
from lfwrap.errors import RunStateError


@dataclass(frozen=True, slots=True)
class VerdictArgs:
    """The command line of `lfwrap runs verdict`.

    Attributes:
        run: the run, as typed.
        runs_dir: the folder of the runs.
        seconds: the time that it may take; None for the usual.
        as_json: print one JSON object.
    """

    run: str
    runs_dir: Path
    seconds: float | None
    as_json: bool


@click.command("verdict")
@click.argument("run", default="latest")
@RUNS_DIR
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    help="The time that it may take; 15 s by default, or 2% of the run's time where that is more.",
)
@AS_JSON
@takes(VerdictArgs)
def verdict_command(args: VerdictArgs) -> None:
    r"""Say whether a run has taught its model anything, and keep that in its folder.

    `lfwrap train` does it at the end of a training. This does it again, with more time, or for a run without one.

    \b
    Example:
      lfwrap runs verdict latest
      lfwrap runs verdict latest --seconds 120 --json
    """
    from lfwrap.cli.view.verdict import show_verdict
    from lfwrap.run.folder.record import RunState, load_run
    from lfwrap.verdict.make import make_verdict

    found = load_run(args.run, args.runs_dir)
    if found.record.state in {RunState.PREPARED, RunState.RUNNING}:
        raise RunStateError(
            f"{found.paths.name}: is {found.record.state}: there is no result to look at",
            hint="`lfwrap runs watch` follows a run to its end.",
        )
    verdict = make_verdict(found, args.seconds).to_json()
    if args.as_json:
        output.print_json("verdict", {"run": str(found.paths.root), **verdict})
    else:
        show_verdict(verdict)
        output.result(verdict["kind"])
