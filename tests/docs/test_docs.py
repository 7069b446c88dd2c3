"""The documentation says what the code does: help with examples, current pages, links that lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from lfwrap.cli.app import COMMANDS as VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").rglob("*.md")])


def load_generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONTEXTS = list(load_generator().all_commands())
COMMANDS = [(path, command) for path, command, _ in CONTEXTS]


def test_there_are_commands():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_has_help_with_an_example(path, command):
    assert command.help, path
    assert "Example" in command.help, f"{path}: its help shows no example"
    undocumented = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert not undocumented, f"{path}: no help for {undocumented}"


@pytest.mark.parametrize(("command", "context"), [item[1:] for item in CONTEXTS], ids=[item[0] for item in CONTEXTS])
def test_examples_keep_their_lines(command, context):
    help_text = command.get_help(context)
    assert "\\b" not in help_text
    assert re.search(r"^ *Example:\n +\S", help_text, re.MULTILINE)


def test_the_generated_pages_are_current():
    # In a process of its own: click keeps the help option of the first context that a command was used in.
    done = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=False)
    assert done.returncode == 0, "run `just docs`"


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    assert not missing


def quoted_commands() -> list[tuple[str, str]]:
    """Every `lfwrap VERB` that a page, a recipe, a message or a help text shows, as (where, VERB)."""
    found = [
        (path, verb)
        for path, command in COMMANDS
        for verb in re.findall(r"^ *lfwrap (\S+)", command.help, re.MULTILINE)
    ]
    files = [*PAGES, *(ROOT / "recipes").glob("*.yaml"), *(ROOT / "lfwrap").rglob("*.py")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        shown = re.findall(r"`lfwrap ([a-z][a-z-]*)", text)
        if path.suffix == ".md":
            for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
                shown += re.findall(r"(?:^|[ (])lfwrap ([a-z][a-z-]*)", block, re.MULTILINE)
        elif path.suffix == ".yaml":
            shown += re.findall(r"^# {3}(?:\S+=\S+ )*lfwrap ([a-z][a-z-]*)", text, re.MULTILINE)
        found += [(str(path.relative_to(ROOT)), verb) for verb in shown]
    return found


def test_every_command_that_is_shown_exists():
    shown = quoted_commands()
    assert len(shown) >= 50
    assert sorted({(where, verb) for where, verb in shown if verb not in VERBS and verb[0] != "-"}) == []


def test_every_page_is_reachable_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md") if page.name != "index.md"]
    assert len(pages) >= 8
    assert [str(page) for page in pages if f"({page})" not in index] == []


def test_both_readmes_start_with_the_same_two_commands():
    blocks = [
        re.findall(r"```bash\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
        for name in ("README.md", "README.zh.md")
    ]
    assert blocks[0][:2] == blocks[1][:2]
    assert "just demo" in blocks[0][0]
    assert "just test" in blocks[0][1]
