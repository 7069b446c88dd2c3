"""`lfwrap doctor`: what this machine can train with, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON
from lfwrap.cli.view import output
from lfwrap.errors import PreflightError

if TYPE_CHECKING:
    from lfwrap.doctor.doctor import Check

_COLOURS = {"ok": "green", "missing": "yellow", "problem": "red"}


@click.command("doctor")
@click.option("--offline", is_flag=True, help="Do not ask the model hub.")
@AS_JSON
def command(*, offline: bool, as_json: bool) -> int:
    r"""Say what this machine can train with, what is missing, how to get it, and what that blocks.

    Ends with code 6 when training can't work here.

    \b
    Example:
      lfwrap doctor
      lfwrap doctor --offline --json
    """
    from lfwrap.doctor.doctor import can_train, diagnose_machine
    from lfwrap.doctor.machine_facts import probe_machine

    checks = diagnose_machine(probe_machine(ask_hub=not offline))
    works = can_train(checks)
    if as_json:
        output.print_json("doctor", {"can_train": works, "checks": [check.to_json() for check in checks]})
    else:
        for check in checks:
            _show(check)
        output.result("Training works here." if works else "Training can't work here yet: see the required rows above.")
    return 0 if works else PreflightError.exit_code


def _show(check: Check) -> None:
    state = click.style(f"{check.state:8}", fg=_COLOURS[check.state])
    output.result(f"{state} {check.name:15} {check.found}")
    if check.remedy:
        output.result(f"{'':25}→ {check.remedy}")
    if check.blocks:
        output.result(f"{'':25}  blocks: {', '.join(check.blocks)}")
