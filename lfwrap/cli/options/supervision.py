"""The options of every command that looks after a training: stalls, memory, and doing it in the background."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from lfwrap.run.supervise.attempt import Attempt

_Command = TypeVar("_Command", bound=Callable[..., Any])
_STALL_MINUTES = 10.0


def supervision_options(command: _Command) -> _Command:
    """Add ``--detach``, ``--stall-minutes``, ``--on-stall``, ``--on-oom`` and ``--no-probe`` to a command."""
    options = (
        click.option("--detach", is_flag=True, help="Train in the background; `lfwrap runs watch` follows."),
        click.option(
            "--stall-minutes",
            type=click.FloatRange(min=0),
            default=_STALL_MINUTES,
            show_default=True,
            help="No progress for so long (longer if updates are slow) is a stall; 0 never is.",
        ),
        click.option(
            "--on-stall",
            type=click.Choice(["warn", "stop"]),
            default="warn",
            show_default=True,
            help="What to do then; the stacks of all ranks are kept in either case.",
        ),
        click.option(
            "--on-oom",
            type=click.Choice(["lower", "fail"]),
            default="lower",
            show_default=True,
            help="Out of memory: go on with a smaller micro-batch and the same effective batch, or fail.",
        ),
        click.option("--no-probe", is_flag=True, help="Do not try the longest batch before the second update."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def supervised(attempt: Attempt, options: dict[str, Any]) -> Attempt:
    """The attempt as these options want it looked after."""
    from lfwrap.run.supervise.stall import OnStall, StallPolicy

    return dataclasses.replace(
        attempt,
        stall=StallPolicy(options["stall_minutes"] * 60, OnStall(options["on_stall"])),
        lowers_memory=options["on_oom"] == "lower",
        probe=not options["no_probe"],
    )


def detached_arguments(options: dict[str, Any]) -> list[str]:
    """These options again, for the process in the background."""
    arguments = ["--stall-minutes", str(options["stall_minutes"])]
    arguments += ["--on-stall", options["on_stall"], "--on-oom", options["on_oom"]]
    arguments += [f"--{name.replace('_', '-')}" for name in ("no_probe", "show_example") if options[name]]
    return arguments
