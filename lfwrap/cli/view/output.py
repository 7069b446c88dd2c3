"""Output: results on stdout, everything else on stderr; one JSON object with ``--json``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from lfwrap.errors import LfwrapError, Severity

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = True) -> Console:
    """A rich console on stderr (or stdout); obeys ``NO_COLOR`` and wraps nothing when it is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


def say(text: str = "") -> None:
    """A line for the person, on stderr."""
    click.echo(text, err=True)


def result(text: str) -> None:
    """A line of the command's result, on stdout."""
    click.echo(text)


def print_json(kind: str, value: dict[str, Any]) -> None:
    """The one JSON object of a command: ``"schema": "lfwrap.<kind>/1"`` first."""
    import orjson

    body = {"schema": f"lfwrap.{kind}/1", **value}
    click.echo(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


def show_error(error: LfwrapError, *, as_json: bool) -> int:
    """Print an error, all of its findings included; returns its exit code."""
    if as_json:
        print_json("error", {"error": error.to_json()})
    if error.findings:
        for finding in error.findings:
            colour = "red" if finding.severity is Severity.ERROR else "yellow"
            click.echo(click.style(f"{finding.severity}: ", fg=colour) + str(finding), err=True)
        if error.message:
            say(error.message)
    else:
        click.echo(click.style("error: ", fg="red", bold=True) + error.message, err=True)
    if error.hint:
        say(f"  {error.hint}")
    return error.exit_code


def show_bug(error: BaseException, code: int, *, as_json: bool = False) -> int:
    """Keep the traceback of a bug of ours in a file and name it; returns the exit code."""
    import tempfile
    import traceback

    descriptor, name = tempfile.mkstemp(prefix="lfwrap-crash-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8") as sink:
        sink.write("".join(traceback.format_exception(error)))
    message, hint = (
        f"lfwrap has a bug: {type(error).__name__}: {error}",
        f"The details are in {name}: please report them.",
    )
    if as_json:
        kind = type(error).__name__
        body = {"kind": kind, "exit_code": code, "message": message, "hint": hint, "findings": []}
        print_json("error", {"error": body})
    say(message)
    say(f"  {hint}")
    return code
