"""The options of every command that looks after a training: stalls, memory, and doing it in the background."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import OptionGroup

if TYPE_CHECKING:
    from lfwrap.run.supervise.attempt import Attempt

_STALL_MINUTES = 10.0
_SECONDS_PER_MINUTE = 60

supervision_options = OptionGroup(
    click.option("--show-example", is_flag=True, help="Keep the training example that the engine prints, in the log."),
    click.option("--detach", is_flag=True, help="Train in the background; `lfwrap runs watch` follows."),
    click.option(
        "--stall-minutes",
        type=click.FloatRange(min=0),
        default=_STALL_MINUTES,
        show_default=True,
        help="This long without progress is a stall (longer where updates are slow); 0 turns that off.",
    ),
    click.option(
        "--on-stall",
        type=click.Choice(["warn", "stop"]),
        default="warn",
        show_default=True,
        help="What to do at a stall; the stacks of all ranks are kept in either case.",
    ),
    click.option(
        "--on-divergence",
        type=click.Choice(["warn", "stop"]),
        default="warn",
        show_default=True,
        help="The loss is NaN, or has risen and stays high: say so, or also stop with a checkpoint.",
    ),
    click.option(
        "--on-oom",
        type=click.Choice(["lower", "fail"]),
        default="lower",
        show_default=True,
        help="Out of memory: go on with a smaller micro-batch and the same effective batch, or fail.",
    ),
    click.option("--no-probe", is_flag=True, help="Do not try the longest batch before the second update."),
    click.option("--no-verdict", is_flag=True, help="Do not look at the result at the end: whether it has learned."),
)
"""Adds the options of `SupervisionArgs` to a command."""


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisionArgs:
    """How a training is looked after.

    Attributes:
        show_example: keep the training example that the engine prints, in the log.
        detach: train in the background.
        stall_minutes: minutes without progress that are a stall; 0 for never.
        on_stall: ``warn`` or ``stop``.
        on_divergence: ``warn`` or ``stop``.
        on_oom: what to do when memory runs out, ``lower`` the micro-batch or ``fail``.
        no_probe: do not try the longest batch early.
        no_verdict: do not look at the result at the end.
    """

    show_example: bool
    detach: bool
    stall_minutes: float
    on_stall: str
    on_divergence: str
    on_oom: str
    no_probe: bool
    no_verdict: bool

    def apply(self, attempt: Attempt) -> Attempt:
        """The attempt, to be looked after like this."""
        from lfwrap.run.supervise.health import OnDivergence
        from lfwrap.run.supervise.stall import OnStall, StallPolicy

        return dataclasses.replace(
            attempt,
            show_example=self.show_example,
            stall=StallPolicy(self.stall_minutes * _SECONDS_PER_MINUTE, OnStall(self.on_stall)),
            on_divergence=OnDivergence(self.on_divergence),
            lowers_memory=self.on_oom == "lower",
            probe=not self.no_probe,
            verdict=not self.no_verdict,
        )

    @property
    def words(self) -> list[str]:
        """These options as words of a command line, for the process in the background."""
        return supervision_options.spell(self, without={"detach"})
