"""``lfwrap runs``: list, show and stop runs; the other subcommands have files of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.commands.runs_replay import replay_command
from lfwrap.cli.commands.runs_report import report_command
from lfwrap.cli.commands.runs_resume import resume_command
from lfwrap.cli.commands.runs_verdict import verdict_command
from lfwrap.cli.commands.runs_watch import watch_command
from lfwrap.cli.options.args import AS_JSON, RUNS_DIR, takes
from lfwrap.cli.view import output
from lfwrap.errors import RunStateError, UsageError

if TYPE_CHECKING:
    from lfwrap.run.folder.record import Run

_SPARK = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 60
_VERDICT_WIDTH = 15


@click.group()
def command() -> None:
    r"""List, show, watch, stop, resume and repeat runs, and report on them.

    A run is named by its folder, its name, an unambiguous part of it, or `latest`.

    \b
    Example:
      lfwrap runs list
      lfwrap runs show latest
      lfwrap runs resume latest
      lfwrap runs report latest
      lfwrap runs verdict latest
    """


@command.command("list")
@RUNS_DIR
@AS_JSON
def list_command(runs_dir: Path, as_json: bool) -> None:
    r"""List the runs of a folder, oldest first.

    \b
    Example:
      lfwrap runs list --runs-dir /data/runs
    """
    from lfwrap.run.folder.record import scan_runs

    if runs_dir.is_file():
        raise UsageError(f"--runs-dir {runs_dir}: a file, expected the folder that holds runs.")
    runs, unreadable = scan_runs(runs_dir)
    for error in unreadable:
        output.say(f"warning: {error.message}")
    if as_json:
        output.print_json("run-list", {"runs": [_with_live_steps(run) for run in runs]})
        return
    if not runs:
        output.say(f"{runs_dir}: no runs here. Start one with `lfwrap train RECIPE`.")
        return
    width = max(len(run.paths.name) for run in runs)
    for run in runs:
        output.result(_line(run, width))


def _with_live_steps(run: Run) -> dict[str, Any]:
    """The run's JSON; of a running one, steps and losses as its log has them now."""
    from lfwrap.run.folder.history import read_ends
    from lfwrap.run.folder.record import RunState

    value = run.to_json()
    if run.record.state in {RunState.RUNNING, RunState.LOST} and (ends := read_ends(run.paths.trainer_log)):
        first, last = ends
        value |= {"global_step": last.step, "max_steps": last.total_steps}
        value |= {"first_loss": first.loss, "last_loss": last.loss}
    return value


def _trackers(run: Run) -> list[dict[str, str | None]]:
    """The run's trackers with their links."""
    from lfwrap.errors import LfwrapError
    from lfwrap.run.launch.trackers import find_trackers
    from lfwrap.yaml_files import load_yaml

    try:
        return find_trackers(load_yaml(run.paths.engine_yaml).values, run.paths)
    except (LfwrapError, OSError):
        return []


def _line(run: Run, width: int) -> str:
    value = _with_live_steps(run)
    steps = f"{value['global_step']}/{value['max_steps']}" if value["max_steps"] else "-"
    loss = f"{value['last_loss']:.4f}" if value["last_loss"] is not None else "-"
    verdict = (value["verdict"] or {"kind": "-"})["kind"]
    state = f"{run.record.state:<11}  {steps:>11}  {loss:>8}  {verdict:<{_VERDICT_WIDTH}}"
    return f"{run.paths.name:<{width}}  {state}  {run.record.base_model}"


@command.command("show")
@click.argument("run", default="latest")
@RUNS_DIR
@AS_JSON
def show_command(run: str, runs_dir: Path, as_json: bool) -> None:
    r"""Show what a run is, how far it came, and what it left.

    \b
    Example:
      lfwrap runs show latest --json
    """
    from lfwrap.run.folder.record import load_run

    found = load_run(run, runs_dir)
    if as_json:
        output.print_json("run", {**_with_live_steps(found), "trackers": _trackers(found)})
        return
    for name, text in _facts(found):
        output.result(f"{name + ':':<13} {text}")
    curve = _curve(found)
    if curve:
        output.result(f"{'loss:':<13} {curve}")


def _facts(run: Run) -> list[tuple[str, str]]:
    from lfwrap.units import format_duration

    record, value = run.record, _with_live_steps(run)
    method = record.finetuning_type + (f" on {record.quantization_bit} bit" if record.quantization_bit else "")
    parts = (record.micro_batch_size, record.gradient_accumulation_steps, record.world_size)
    facts = [
        ("run", str(run.paths.root)),
        ("state", f"{record.state}{': ' + record.reason if record.reason else ''}"),
        ("model", record.base_model),
        ("method", f"{method}, {record.stage}, template {record.template or 'none'}"),
        ("data", ", ".join(record.datasets)),
        ("batch", f"{' × '.join(map(str, parts))} = {record.effective_batch_size}"),
        ("launcher", f"{record.launcher}, {record.device}"),
        ("verdict", f"{value['verdict']['kind']}. {value['verdict']['summary']}" if value["verdict"] else ""),
        *(
            (("warning", f"{each['message']} {each['hint']}") for each in value["verdict"]["findings"])
            if value["verdict"]
            else ()
        ),
        ("steps", f"{value['global_step']} of {value['max_steps'] or '?'}"),
        ("attempts", f"{record.attempt + 1}, {format_duration(record.duration_s)}"),
        ("checkpoints", ", ".join(path.name for path in run.paths.checkpoints()) or "none"),
        ("result", str(run.adapter_dir or "-")),
        ("repeats", record.replay_of or ""),
        *(
            ("warning", f"{each.get('message')} {each.get('remedy')} ({each.get('rule')})")
            for each in value["warnings"]
        ),
        *((each["tracker"] or "", f"{each['name']}  {each['link'] or each['path'] or ''}") for each in _trackers(run)),
    ]
    return [(name, text) for name, text in facts if text]


def _curve(run: Run) -> str:
    """The training loss as a line of bars, first and last value beside it."""
    from lfwrap.run.folder.monitor import load_history

    logged = (entry.loss for entry in load_history(run.paths.trainer_log))
    losses = [loss for loss in logged if loss is not None and math.isfinite(loss)]
    if len(losses) < 2:  # noqa: PLR2004 - a curve has two ends
        return ""
    count = min(_CURVE_WIDTH, len(losses))
    shown = [losses[index * (len(losses) - 1) // (count - 1)] for index in range(count)]
    low, high = min(shown), max(shown)
    scale = (len(_SPARK) - 1) / (high - low) if high > low else 0.0
    bars = "".join(_SPARK[round((loss - low) * scale)] for loss in shown)
    return f"{losses[0]:.4f} {bars} {losses[-1]:.4f}"


@dataclass(frozen=True, slots=True)
class StopArgs:
    """The command line of `lfwrap runs stop`.

    Attributes:
        run: the run, as typed.
        runs_dir: the folder of the runs.
        kill: stop at once, without a checkpoint.
        timeout_s: seconds to wait for the end.
        as_json: print one JSON object.
    """

    run: str
    runs_dir: Path
    kill: bool
    timeout_s: float
    as_json: bool


@command.command("stop")
@click.argument("run", default="latest")
@RUNS_DIR
@click.option("--kill", is_flag=True, help="Stop at once, without a checkpoint.")
@click.option(
    "--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds to wait for its end."
)
@AS_JSON
@takes(StopArgs)
def stop_command(args: StopArgs) -> None:
    r"""Stop a run: the engine finishes its update and saves a checkpoint to go on from.

    \b
    Example:
      lfwrap runs stop latest
    """
    from lfwrap.run.folder.record import load_run
    from lfwrap.run.supervise.background import kill_run, request_stop, wait_until_stopped
    from lfwrap.units import plural

    found = load_run(args.run, args.runs_dir)
    if args.kill:
        output.say(f"killed {plural(kill_run(found), 'process', 'processes')}")
    else:
        request_stop(found)
        output.say("asked to stop; the engine saves a checkpoint …")
    stopped = wait_until_stopped(found.paths.root, args.timeout_s)
    if stopped is None:
        raise RunStateError(
            f"{found.paths.name}: still runs after {args.timeout_s:g} s", hint="Stop it at once with --kill."
        )
    if args.as_json:
        output.print_json("run", _with_live_steps(stopped))
    else:
        output.result(f"{stopped.paths.name}: {stopped.record.state}")


command.add_command(watch_command)
command.add_command(resume_command)
command.add_command(replay_command)
command.add_command(report_command)
command.add_command(verdict_command)
