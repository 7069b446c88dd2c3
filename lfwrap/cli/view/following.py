"""A new run: followed on the terminal, left in the background or handed to a scheduler; and how it ended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from lfwrap.cli.view import output
from lfwrap.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, EngineError

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.folder.record import Run
    from lfwrap.run.prepare.job import Job
    from lfwrap.run.supervise.attempt import Attempt


def detach_run(run: Run, invocation: Invocation, arguments: list[str], *, as_json: bool) -> int:
    """Train in the background: the run's folder on stdout, and how to look after it.

    Args:
        run: the run, with nothing started.
        invocation: where and with which variables it is started.
        arguments: how it is supervised, as options of `lfwrap runs resume`.
        as_json: whether to print the record instead of the folder.

    Raises:
        RunStateError: it could not be started.
    """
    from lfwrap.run.supervise.background import start_detached

    run = start_detached(run, [*arguments, "--quiet"], cwd=invocation.cwd, environ=invocation.environ)
    if as_json:
        output.print_json("run", run.to_json())
    else:
        output.result(str(run.paths.root))
    output.say(f"  Follow it: lfwrap runs watch {run.paths.root}")
    output.say(f"  Stop it: lfwrap runs stop {run.paths.root}")
    return 0


def submit_run(job: Job, run: Run, *, as_json: bool) -> int:
    """Hand a prepared run to its scheduler, where its command is installed; else say how.

    Raises:
        LfwrapError: the scheduler refuses it.
    """
    from lfwrap.run.supervise.background import submit

    script = next(iter(job.command.files))
    answer = None
    if shutil.which(job.command.argv[0]) is not None:
        answer = submit(job.command, run.paths)
    if as_json:
        submitted = {"script": str(script), "job": answer, "command": job.command.to_json()}
        output.print_json("submission", {**run.to_json(), **submitted})
        return 0
    if answer is None:
        output.say(f"{job.command.argv[0]} is not on the PATH; the job is written. Submit it where it is:")
        output.result(job.command.quoted)
        return 0
    output.say(f"submitted to {job.launcher.name}: {answer}")
    output.result(str(run.paths.root))
    return 0


def follow_run(
    run: Run, attempt: Attempt, *, as_json: bool, quiet: bool, before_start: Callable[[], None] | None = None
) -> int:
    """Start the engine, again with less memory in use if that is needed, show its progress, say how it ended.

    Returns the exit code.

    Raises:
        EngineError: the engine failed; carries the diagnosis.
    """
    from lfwrap.cli.view.training import choose_view
    from lfwrap.invocation import Invocation
    from lfwrap.run.again.recovery import run_until_it_fits
    from lfwrap.run.folder.record import RunState

    view = choose_view(quiet=quiet, devices=attempt.command.environment.get("CUDA_VISIBLE_DEVICES"))
    here = Invocation(attempt.command.cwd, attempt.environ)
    try:
        run = run_until_it_fits(
            run,
            attempt,
            view.listener(),
            here,
            before_start=before_start,
            on_lower=lambda what: output.say(f"out of memory: {what}"),
        )
    finally:
        view.close()
    if run.record.state is RunState.FAILED:
        raise failure(run)
    if run.record.state is RunState.SUCCEEDED and attempt.verdict:
        _judge(run)
    if as_json:
        output.print_json("run", run.to_json())
    if run.record.state is RunState.SUCCEEDED:
        show_success(run, as_json=as_json)
        return 0
    with contextlib.suppress(OSError):  # the terminal may be what has gone
        output.say(run.record.reason)
        output.say(f"  Go on with: lfwrap runs resume {run.paths.root}")
    return EXIT_INTERRUPTED if "SIGINT" in run.record.reason else EXIT_TERMINATED


def _judge(run: Run) -> None:
    """Find out whether the model has learned, where the recipe leaves that in."""
    from lfwrap.cli.view.verdict import judge_run
    from lfwrap.verdict.make import is_wanted

    if is_wanted(run):
        judge_run(run)


def show_success(run: Run, *, as_json: bool) -> None:
    """Say where the result is, how many steps it took, how its loss changed, and what the verdict is."""
    from lfwrap.cli.view.verdict import is_worth_talking_to, show_verdict
    from lfwrap.units import format_duration, plural

    record = run.record
    if record.reason:
        output.say(record.reason)
    losses = (
        f", loss {record.first_loss:.4f} → {record.last_loss:.4f}" if record.last_loss and record.first_loss else ""
    )
    output.say(
        f"trained {record.global_step} of {plural(record.max_steps, 'step')} in {format_duration(record.duration_s)}"
        f"{losses}"
    )
    if not as_json:
        output.result(str(run.adapter_dir or run.paths.output))
    verdict = run.verdict
    show_verdict(verdict)
    if is_worth_talking_to(verdict):
        output.say(f"  Talk to it: lfwrap chat {run.paths.root}")


def failure(run: Run) -> EngineError:
    """The error of a failed run: the log's tail on stderr, the diagnosis in the message."""
    import orjson

    from lfwrap.engine.diagnose import log_tail, read_tail
    from lfwrap.run.folder.rank_logs import relevant_logs

    folder = run.paths.attempt(run.record.attempt)
    logs = relevant_logs(folder)
    for line in log_tail(map(read_tail, logs)):
        output.say(f"  | {line}")
    try:
        diagnosis = orjson.loads(folder.exit.read_bytes())["diagnosis"] or {}
    except (OSError, ValueError, KeyError):
        diagnosis = {}
    step = f" at step {run.record.global_step} of {run.record.max_steps}" if run.record.max_steps else ""
    return EngineError(
        f"{run.paths.name} failed{step}: {run.record.reason} ({diagnosis.get('rule', 'unknown')})",
        hint=f"{diagnosis.get('remedy', '')} The whole log: {logs[0] if logs else folder.root}".strip(),
    )
