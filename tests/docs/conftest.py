"""What the tests of the documentation share: a command line read as click reads it, short of running it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from lfwrap.cli.app import app

INPUTS = {".json", ".jsonl", ".csv", ".txt"}
SHELL = {">", ">>", "|", "&&", "&"}


@dataclass(frozen=True)
class Parsed:
    """The variables that stand before `lfwrap`, and what click made of the words after it."""

    variables: list[str]
    params: dict[str, Any]


def parse_words(words: list[str]) -> dict[str, Any]:
    """The parameters of a command line; raises as the command would."""
    context: click.Context = click.Context(app, info_name="lfwrap")
    command: click.Command = app
    _, words, _ = app.make_parser(context).parse_args(list(words))  # lfwrap's own options stand first
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
        if isinstance(command, click.Group):
            context = click.Context(command, info_name=name, parent=context)
    return command.make_context(command.name, list(words), parent=context).params


@pytest.fixture
def parse_line(tmp_path, monkeypatch) -> Callable[[str], Parsed]:
    """Parses `NAME=VALUE lfwrap … > file # comment`, in a folder where the input files are that it names."""
    monkeypatch.chdir(tmp_path)

    def parse(line: str) -> Parsed:
        words = shlex.split(line, comments=True)
        words = words[: next((at for at, word in enumerate(words) if word in SHELL), None)]
        at = words.index("lfwrap")
        for word in words:
            if Path(word).suffix in INPUTS:
                (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / word).touch()
        return Parsed([word.split("=")[0] for word in words[:at]], parse_words(words[at + 1 :]))

    return parse
