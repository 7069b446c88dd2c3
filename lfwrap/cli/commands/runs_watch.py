"""``lfwrap runs watch``: follow a training that runs elsewhere, without touching it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, RUNS_DIR
from lfwrap.cli.view import output
from lfwrap.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

if TYPE_CHECKING:
    from lfwrap.run.folder.record import Run
    from lfwrap.run.supervise.attempt import Listener

_POLL_S = 0.5
_NEXT_ATTEMPT_S = 10.0
_VERDICT_BEGINS_S = 2.0


@click.command("watch")
@click.argument("run", default="latest")
@RUNS_DIR
@AS_JSON
def watch_command(run: str, runs_dir: Path, as_json: bool) -> int:
    r"""Follow a running training from another terminal; ^C stops watching, not the training.

    Exits as `lfwrap train` would have: 0 when the training succeeded, 7 when it failed, 130 or 143 when it was stopped.

    \b
    Example:
      lfwrap runs watch latest
    """
    from lfwrap.cli.view.following import failure
    from lfwrap.cli.view.training import choose_view
    from lfwrap.cli.view.verdict import show_verdict
    from lfwrap.run.folder.record import RunState, load_run

    found = load_run(run, runs_dir)
    is_live = found.record.state is RunState.RUNNING
    view = choose_view(quiet=False, devices=_devices(found))
    try:
        found = _follow(found, view.listener())
    finally:
        view.close()
    if found.record.state is RunState.FAILED:
        raise failure(found)
    output.say(f"{found.paths.name}: {found.record.state}. {found.record.reason}".rstrip())
    if found.record.state is RunState.SUCCEEDED:
        show_verdict(_wait_for_verdict(found) if is_live else found.verdict)
    if as_json:
        output.print_json("run", found.to_json())
    if found.record.state in {RunState.SUCCEEDED, RunState.PREPARED}:
        return 0
    return EXIT_INTERRUPTED if "SIGINT" in found.record.reason else EXIT_TERMINATED


def _wait_for_verdict(run: Run) -> dict[str, Any] | None:
    """The verdict that another process is making; None where it does not begin with one, or does not end in time."""
    import orjson

    deadline_s = time.monotonic() + _VERDICT_BEGINS_S
    while (verdict := run.verdict) is None and time.monotonic() < deadline_s:
        try:
            budget_s = float(orjson.loads(run.paths.verdict.read_bytes())["budget_s"])
            deadline_s = run.paths.verdict.stat().st_mtime - time.time() + time.monotonic() + budget_s + _POLL_S * 10
        except (OSError, ValueError, KeyError, TypeError):
            pass
        time.sleep(_POLL_S)
    return verdict


def _devices(run: Run) -> str | None:
    """The GPUs of the last attempt, as ``CUDA_VISIBLE_DEVICES`` has them; None where its command does not say."""
    import orjson

    try:
        command = orjson.loads(run.paths.attempt(run.record.attempt).command.read_bytes())
    except (OSError, ValueError):
        return None
    value = command.get("environment", {}).get("CUDA_VISIBLE_DEVICES")
    return value if isinstance(value, str) else None


def _follow(run: Run, listener: Listener) -> Run:
    """Show attempt after attempt until the run has ended; returns it as it stands then."""
    from lfwrap.run.folder.record import RunState, load_run

    while True:
        run = _follow_attempt(run, listener)
        if run.record.state is RunState.FAILED and _starts_again(run):
            run = load_run(run.paths.root)
        if run.record.state is not RunState.RUNNING:
            return run


def _follow_attempt(run: Run, listener: Listener) -> Run:
    from lfwrap.run.folder.monitor import Progress, RunMonitor
    from lfwrap.run.folder.record import RunState, load_run

    monitor = RunMonitor(run.paths, run.paths.attempt(max(run.record.attempt, 0)))
    shown: set[str] = set()
    number = run.record.attempt
    while True:
        for news in monitor.poll():
            if isinstance(news, Progress):
                listener.on_progress(news)
            else:
                listener.on_phase(news)
        _show_warnings(run, listener, shown)
        listener.on_tick()
        if run.record.state is not RunState.RUNNING or run.record.attempt != number:
            return run
        time.sleep(_POLL_S)
        run = load_run(run.paths.root)


def _show_warnings(run: Run, listener: Listener, shown: set[str]) -> None:
    """Say what the run's own process has noticed, each once."""
    from lfwrap.run.folder.health import load_warnings
    from lfwrap.run.supervise.health import HealthWarning

    for value in load_warnings(run.paths):
        warning = HealthWarning.from_json(value)
        if warning is not None and warning.rule not in shown:
            shown.add(warning.rule)
            listener.on_warning(warning)


def _starts_again(run: Run) -> bool:
    """Whether a run that ran out of memory goes on with a smaller micro-batch: that takes a few seconds to show."""
    from lfwrap.run.folder.record import RunState, load_run

    ended = run.paths.attempt(run.record.attempt).exit
    if not ended.is_file() or time.time() - ended.stat().st_mtime > _NEXT_ATTEMPT_S:
        return False
    deadline = time.monotonic() + _NEXT_ATTEMPT_S
    while time.monotonic() < deadline:
        now = load_run(run.paths.root)
        if now.record.state is RunState.RUNNING or now.record.attempt > run.record.attempt:
            return True
        time.sleep(_POLL_S)
    return False
