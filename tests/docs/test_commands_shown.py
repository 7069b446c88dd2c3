"""Every command line in a shell block of a page or in an example of a help text parses as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from lfwrap.cli.app import COMMANDS, app
from lfwrap.errors import LfwrapError

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").rglob("*.md")])
LINE = re.compile(r"^ *(?:\$ )?((?:[A-Z_]+=\S+ )*lfwrap [a-z-].*)$", re.MULTILINE)


def join(text: str) -> str:
    return re.sub(r"\\\n *", "", text)


def lines_of_pages() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|console)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            found += [(str(page.relative_to(ROOT)), line) for line in LINE.findall(join(block))]
    return found


def lines_of_help() -> list[tuple[str, str]]:
    found = []
    pending = [(name, app.get_command(click.Context(app), name)) for name in COMMANDS]
    for name, command in pending:
        found += [(name, line) for line in LINE.findall(join((command.help or "").partition("Example:")[2]))]
        pending += [(f"{name} {child}", each) for child, each in getattr(command, "commands", {}).items()]
    return found


SHOWN = list(dict.fromkeys([*lines_of_pages(), *lines_of_help()]))


def test_there_are_many():
    assert len(SHOWN) >= 150


@pytest.mark.parametrize(("where", "line"), SHOWN)
def test_it_parses(where, line, parse_line):
    assert parse_line(line).params, where


@pytest.mark.parametrize(
    "line", ["lfwrap train r.yaml --resumee x", "lfwrap nothing", "lfwrap export latest", "lfwrap runs wach latest"]
)
def test_a_command_that_does_not_exist_is_noticed(line, parse_line):
    with pytest.raises((click.UsageError, LfwrapError)):
        parse_line(line)
