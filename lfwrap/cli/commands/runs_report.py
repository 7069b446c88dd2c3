"""``lfwrap runs report``: a page of one run or several, or the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, RUNS_DIR, takes
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.run.folder.record import Run


@dataclass(frozen=True, slots=True)
class ReportArgs:
    """The command line of `lfwrap runs report`.

    Attributes:
        runs: the runs, as typed; none stands for the latest.
        runs_dir: the folder of the runs.
        out: the page's file.
        force: replace it.
        as_json: print the report as one JSON object.
    """

    runs: tuple[str, ...]
    runs_dir: Path
    out: Path | None
    force: bool
    as_json: bool


@click.command("report")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@RUNS_DIR
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="File of the page; by default report.html in the run's folder, or for several runs in --runs-dir.",
)
@click.option("--force", is_flag=True, help="Replace the file that --out names.")
@AS_JSON
@takes(ReportArgs)
def report_command(args: ReportArgs) -> None:
    r"""Write a page of a run: curves, plan against measured, data, environment, attempts, the exact command.

    One HTML file that loads nothing from anywhere. Several runs share their curves' plots. With --json the same is
    printed for programs, and a page is written only where --out names one.

    \b
    Example:
      lfwrap runs report
      lfwrap runs report first second -o compared.html
    """
    from lfwrap.files import write_text
    from lfwrap.report.page import render_page
    from lfwrap.report.run_report import describe_run
    from lfwrap.run.folder.record import load_run

    out = args.out
    if out is not None and out.exists() and not args.force:
        raise UsageError(f"--out {out}: exists already.", hint="Name another file, or replace it with --force.")
    found = [load_run(name, args.runs_dir) for name in args.runs or ("latest",)]
    described = [describe_run(run) for run in found]
    target = out or (None if args.as_json else _default_file(found, args.runs_dir))
    if target is not None:
        write_text(target, render_page(described))
    if args.as_json:
        output.print_json("run-report", {"page": str(target) if target else None, "runs": described})
    else:
        output.result(str(target))


def _default_file(runs: list[Run], runs_dir: Path) -> Path:
    return runs[0].paths.report if len(runs) == 1 else runs_dir / "report.html"
