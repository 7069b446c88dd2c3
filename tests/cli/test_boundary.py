"""The last boundary of the command line: pipes that close, signals, interrupts."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lfwrap.cli import app as cli
from lfwrap.errors import PreflightError


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["--help", "recipe list", "recipe list --json", "recipe check nothing.yaml --json"])
def test_a_full_disk_is_not_a_bug(command):
    argv = [sys.executable, "-m", "lfwrap", *command.split()]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(argv, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == PreflightError.exit_code
    assert "no space is left" in done.stderr
    assert "Traceback" not in done.stderr


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


_DEEP = "[" * 3000 + "]" * 3000
_DEEP_FILES = {
    "list.json": _DEEP,
    "object.json": f'{{\n"messages": {_DEEP}\n}}\n',
    "lines.jsonl": f'{{"a": {_DEEP}}}\n',
    "history.jsonl": f'{{"instruction": "a", "output": "b", "history": "{_DEEP}"}}\n',
    "tools.jsonl": f'{{"conversations": [{{"from": "human", "value": "x"}}], "tools": "{_DEEP}"}}\n',
    "good.csv": "instruction,output\na,b\n",
    "known/dataset_info.json": _DEEP,
    "recipe.yaml": "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset: x\ndataset_dir: known\n",
}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("recipe import list.json", 3),
        ("recipe check recipe.yaml", 3),
        ("prepare-data list.json --out out --name x", 4),
        ("prepare-data list.json --out out --name x --format mcpflow-trajectories", 4),
        ("prepare-data object.json --out out --name x", 4),
        ("prepare-data history.jsonl --out out --name x --format alpaca", 4),
        ("prepare-data good.csv --out out --name x --tools list.json", 4),
        ("prepare-data good.csv --out known --name x", 4),
        ("data tools list.json", 4),
        ("data tools lines.jsonl", 4),
        ("data stats x --dataset-dir known", 4),
        ("data stats tools.jsonl", 0),
        ("data show tools.jsonl", 0),
    ],
)
def test_json_that_is_nested_too_deeply_is_the_files_fault(monkeypatch, tmp_path, capsys, command, code):
    for name, text in _DEEP_FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    check = ["--no-engine-check"] if command.startswith("prepare-data") else []
    assert cli.run([*command.split(), *check]) == code, capsys.readouterr().err
