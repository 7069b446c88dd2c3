"""The last boundary of the command line: pipes that close, signals, interrupts."""

from __future__ import annotations

import io
import signal
import sys

import click
import pytest

from lfwrap.cli import app as cli


def run_raising(monkeypatch, error):
    @click.command()
    def command():
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    return cli.run(["doctor"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (click.Abort(), 130, "interrupted"),
        (cli._Terminated(signal.SIGTERM), 143, "terminated"),
        (click.exceptions.Exit(5), 5, ""),
        (click.UsageError("no"), 2, "no"),
    ],
)
def test_each_way_to_end_has_its_code_and_word(monkeypatch, capsys, error, code, words):
    assert run_raising(monkeypatch, error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err


def test_a_reader_that_has_gone_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert run_raising(monkeypatch, BrokenPipeError()) == 0


def test_the_console_script_turns_signals_into_an_unwinding(monkeypatch):
    seen = {}
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}

    def run(arguments):
        seen["arguments"] = arguments
        try:
            signal.raise_signal(signal.SIGHUP)
        except cli._Terminated as error:
            seen["signal"] = error.args[0]
        return 143

    monkeypatch.setattr(cli, "run", run)
    monkeypatch.setattr(sys, "argv", ["lfwrap", "runs", "list"])
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 143
    assert seen == {"arguments": ["runs", "list"], "signal": signal.SIGHUP}
