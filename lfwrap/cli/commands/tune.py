"""``lfwrap tune``: measure which strategy for a recipe is the fastest on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, QUIET, takes
from lfwrap.cli.view import output

if TYPE_CHECKING:
    from lfwrap.strategy.lock import LockEntry, Trial
    from lfwrap.tuning.tune import Tuning

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """``300``, ``300s``, ``5m`` or ``0.5h``, as seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds from a text such as ``5m``; fails with click's error for anything else."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", str(value).strip())
        if found is None or not float(found[1]):
            self.fail(f"{value!r} is not a time such as 300s, 5m or 0.5h.", param, ctx)
        return float(found[1]) * _UNITS_S[found[2]]


@dataclass(frozen=True, slots=True)
class TuneArgs:
    """The command line of `lfwrap tune`.

    Attributes:
        recipe: path or bundled name of the recipe.
        overrides: ``KEY=VALUE`` texts.
        hardware: ``auto`` or ``cpu``.
        gpus: GPUs to use; None for all.
        budget: seconds; no trial begins that would end later.
        candidates: the most strategies to try.
        dry_run: only show the strategies.
        force: try a large model on a CPU.
        as_json: print one JSON object.
        quiet: show no progress.
    """

    recipe: str
    overrides: tuple[str, ...]
    hardware: str
    gpus: int | None
    budget: float
    candidates: int
    dry_run: bool
    force: bool
    as_json: bool
    quiet: bool


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--hardware", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True, help="Where the trials run."
)
@click.option("--gpus", type=click.IntRange(min=1), help="GPUs to use; all of them by default.")
@click.option(
    "--budget", type=Duration(), default="5m", show_default=True, help="Begin no trial that would end after this time."
)
@click.option(
    "--candidates", type=click.IntRange(2, 20), default=6, show_default=True, help="The most strategies to try."
)
@click.option("--dry-run", is_flag=True, help="Show the strategies that would be tried; start nothing.")
@click.option("--force", is_flag=True, help="Try even a model of more than 1 B parameters on a CPU.")
@AS_JSON
@QUIET
@takes(TuneArgs)
def command(args: TuneArgs) -> None:
    r"""Measure which way of running a recipe is the fastest here, and let `lfwrap train` follow it.

    The plan's best strategies are trained for a few updates each, on the longest rows and on typical ones; a strategy
    may run out of memory. The choice of `speed: auto` is always among them, so the result is never slower. It goes
    into the recipe's lock file, for this machine, these versions and this data; `lfwrap train --no-lock` ignores it.

    \b
    Example:
      lfwrap tune my.yaml
      lfwrap tune recipes/paper.yaml lfwrap.speed=max --budget 10m
      lfwrap train recipes/paper.yaml lfwrap.speed=max
    """
    from lfwrap.invocation import Invocation
    from lfwrap.run.prepare.job import TrainRequest
    from lfwrap.tuning.tune import prepare_tuning, tune

    request = TrainRequest(
        args.recipe, args.overrides, hardware=args.hardware, gpus=args.gpus, force=args.force, use_lock=False
    )
    invocation = Invocation(Path.cwd(), dict(os.environ))
    tuning = prepare_tuning(request, invocation, args.candidates)
    if args.dry_run:
        _show_ways(tuning, as_json=args.as_json)
        return

    def tell(number: int, count: int, way: str, trial: Trial | None) -> None:
        """Say how a trial came out, or that it begins."""
        if not args.quiet:
            output.say(f"[{number + 1}/{count}] {way}" if trial is None else f"      {_outcome(trial)}")

    entry = tune(tuning, invocation, args.budget, tell)
    if args.as_json:
        output.print_json("tune", {"lock": str(tuning.lock), **entry.to_json()})
        return
    _show_table(entry)
    output.say(_conclusion(entry))
    output.say(f"wrote {tuning.lock}")


def _show_ways(tuning: Tuning, *, as_json: bool) -> None:
    from lfwrap.tuning.trial_values import describe_strategy

    ways = [
        {"way": describe_strategy(each), "extended": each.extension, "values": each.choices}
        for each in (job.strategy for job in tuning.jobs)
    ]
    if as_json:
        output.print_json("tune-ways", {"ways": ways, "lock": str(tuning.lock)})
        return
    for way in ways:
        output.result(str(way["way"]))


def _outcome(trial: Trial) -> str:
    if trial.status == "ok":
        return f"{_pace(trial)}{_memory(trial)}"
    return trial.why or trial.status


def _pace(trial: Trial) -> str:
    if trial.row_s is not None:
        return f"{trial.row_s:.4g} s a row, {trial.tokens_per_s or 0:,.0f} tokens/s"
    return f"{trial.epoch_s:.4g} s an epoch, {trial.tokens_per_s or 0:,.0f} tokens/s"


def _memory(trial: Trial) -> str:
    from lfwrap.units import format_bytes

    return f", peak {format_bytes(trial.peak_allocated_bytes)}" if trial.peak_allocated_bytes else ""


def _show_table(entry: LockEntry) -> None:
    """The trials, the fastest first."""
    from lfwrap.units import format_bytes

    rows = [("s a row", "tokens/s", "peak", "way", "")]
    order = sorted(entry.trials, key=lambda trial: (trial is not entry.best, trial.epoch_s or float("inf")))
    for trial in order:
        peak = format_bytes(trial.peak_allocated_bytes) if trial.peak_allocated_bytes else "-"
        speed = f"{trial.tokens_per_s:,.0f}" if trial.tokens_per_s else "-"
        row_s = f"{trial.row_s:.4g}" if trial.row_s else "-"
        rows.append((row_s, speed, peak, trial.way, "taken" if trial is entry.best else trial.why))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        cells = [row[column].rjust(widths[column]) for column in range(3)]
        output.result("  ".join([*cells, row[3].ljust(widths[3]), row[4]]).rstrip())


def _conclusion(entry: LockEntry) -> str:
    if entry.winner == 0:
        return "speed: auto's own choice is the fastest."
    if not entry.auto.epoch_s or entry.auto.status != "ok" or not entry.best.epoch_s:
        return f"speed: auto's own choice failed: {entry.auto.why}."
    return f"{entry.auto.epoch_s / entry.best.epoch_s:.2f} times as fast as speed: auto's own choice."
