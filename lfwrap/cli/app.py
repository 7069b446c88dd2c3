"""The `lfwrap` command: loads the module of the command asked for, and turns every error into a message and a code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from typing import Any

import click

from lfwrap import __version__
from lfwrap.cli.view import output
from lfwrap.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_TERMINATED, LfwrapError, PreflightError, UsageError
from lfwrap.suggest import did_you_mean

# command → (module, one line of help); the modules stay unloaded until used, so that help is quick.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare-data": ("prepare_data", "Turn Alpaca, CSV and other files into an exact LLaMA-Factory data set."),
    "data": ("data", "List formats, collect tools, count and show what data sets hold."),
    "plan": ("plan", "Find the fastest way to run a recipe that fits a machine, and say why."),
    "tune": ("tune", "Measure which way of running a recipe is the fastest on this machine."),
    "train": ("train", "Train a recipe: check, render, launch, follow, record."),
    "compare": ("compare", "Ask base, adapters and checkpoints the same questions, side by side."),
    "chat": ("chat", "Talk to a tuned model: interactive, one question, or a file of them."),
    "eval": ("eval", "Measure models: loss on held-out rows, tool calls, BFCL, lm-evaluation-harness."),
    "serve": ("serve", "Serve a tuned model over HTTP, as OpenAI's API."),
    "export": ("export", "Write a model as merged weights, adapter, GGUF, Ollama or GPTQ, compared with its training."),
    "doctor": ("doctor", "Say what this machine can train with, and what is missing."),
    "demo": ("demo", "See it all work on this machine in minutes: data, training, answers, merged model."),
    "recipe": ("recipe", "List, check and explain recipes; print their schema."),
    "hardware": ("hardware", "List known machines, show one, look at this one."),
    "runs": ("runs", "List, show, watch, stop, resume, repeat runs, and report on them."),
}


_NO_DEBUG = {"", "0", "false", "no", "off"}
"""The values of LFWRAP_DEBUG that do not ask for anything, in small letters."""


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order of a job."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of one command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"lfwrap.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        _keep_line_breaks(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest name for an unknown command."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise UsageError(
                f"lfwrap {args[0]}: no such command.",
                hint=did_you_mean(args[0], COMMANDS, otherwise="See lfwrap --help."),
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _keep_line_breaks(command: click.Command) -> None:
    r"""Write the ``\b`` of raw docstrings as the backspace by which click keeps a paragraph's line breaks."""
    if command.help:
        command.help = command.help.replace("\\b\n", "\b\n")
    if isinstance(command, click.Group):
        for child in command.commands.values():
            _keep_line_breaks(child)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="lfwrap %(version)s")
@click.option(
    "--debug",
    "debugs",
    is_flag=True,
    help="Show decisions and started processes on stderr, with secrets masked; LFWRAP_DEBUG=1 does the same.",
)
def app(debugs: bool) -> None:
    r"""Data, recipes, training and export for LLaMA-Factory.

    \b
    Example:
      lfwrap prepare-data questions.csv --out data/law --name law
      lfwrap train recipes/paper.yaml dataset=law dataset_dir=data/law
    """
    if debugs or os.environ.get("LFWRAP_DEBUG", "").lower() not in _NO_DEBUG:
        from lfwrap.debug import show

        show()


_keep_line_breaks(app)


class _Terminated(BaseException):
    """SIGTERM or SIGHUP arrived: unwind, so that children are stopped and files are left whole."""


def _raise_terminated(signum: int, _frame: Any) -> None:
    raise _Terminated(signum)


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code. Errors go to stderr, with ``--json`` also to stdout."""
    try:
        return _run(arguments, as_json="--json" in arguments)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        # stdout itself may lie on the full disk: what it holds back would fail again when Python ends
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        full = PreflightError("no space is left on the device", hint="Free some space.")
        return output.show_error(full, as_json=False)


def _run(arguments: list[str], *, as_json: bool) -> int:
    try:
        result = app.main(args=arguments, prog_name="lfwrap", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        return output.show_error(UsageError(error.format_message(), hint=_usage_hint(error)), as_json=as_json)
    except LfwrapError as error:
        return output.show_error(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        output.say("interrupted")
        return EXIT_INTERRUPTED
    except _Terminated:
        output.say("terminated")
        return EXIT_TERMINATED
    except Exception as error:
        if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.ENOSPC:
            raise
        # the last boundary: our bug, kept in a file
        return output.show_bug(error, EXIT_BUG, as_json=as_json)
    return result if isinstance(result, int) else 0


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"See {context.command_path} --help." if context else "See lfwrap --help."


def main() -> None:
    """Run the command line, as the console script ``lfwrap`` does."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _raise_terminated)
    sys.exit(run(sys.argv[1:]))
