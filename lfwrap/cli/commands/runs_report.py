"""``lfwrap runs report``: a page of one run or several, or the same as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.runs import AS_JSON, RUNS_DIR
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.run.folder.record import Run


@click.command("report")
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@RUNS_DIR
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="The page; by default report.html in the run's folder, of several runs in that of the runs.",
)
@click.option("--force", is_flag=True, help="Replace the file that --out names.")
@AS_JSON
def report_command(*, runs: tuple[str, ...], runs_dir: Path, out: Path | None, force: bool, as_json: bool) -> None:
    r"""Write a page of a run: curves, plan against measured, data, environment, attempts, the exact command.

    One HTML file that loads nothing from anywhere. Several runs share their curves' plots. With --json the same is
    printed for machines, and a page written only where --out names one.

    \b
    Example:
      lfwrap runs report
      lfwrap runs report first second -o compared.html
    """
    from lfwrap.files import write_text
    from lfwrap.report.page import render_page
    from lfwrap.report.run_report import describe_run
    from lfwrap.run.folder.record import load_run

    if out is not None and out.exists() and not force:
        raise UsageError(f"--out {out}: is there already.", hint="Name another file, or replace it with --force.")
    found = [load_run(name, runs_dir) for name in runs or ("latest",)]
    described = [describe_run(run) for run in found]
    target = out or (None if as_json else _own_place(found, runs_dir))
    if target is not None:
        write_text(target, render_page(described))
    if as_json:
        output.print_json("run-report", {"page": str(target) if target else None, "runs": described})
    else:
        output.result(str(target))


def _own_place(runs: list[Run], runs_dir: Path) -> Path:
    return runs[0].paths.report if len(runs) == 1 else runs_dir / "report.html"
