"""Write the generated pages of docs/reference: `python docs/generate.py [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lfwrap.cli.app import COMMANDS, app
from lfwrap.data.formats.format_docs import render_formats
from lfwrap.data.schema.rules import render_rules
from lfwrap.engine.faults import render_diagnoses

REFERENCE = Path(__file__).resolve().parent / "reference"
PAGE = REFERENCE / "cli.md"
WIDTH = 110


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all of its subcommands, each with the context that prints its full name."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from walk(child, click.Context(child, info_name=name, parent=context, terminal_width=WIDTH))


def all_commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command as (full name, command, context), `lfwrap` itself first, then in the order of its help."""
    root = click.Context(app, info_name="lfwrap", terminal_width=WIDTH)
    yield "lfwrap", app, root
    for name in COMMANDS:
        command = app.get_command(root, name)
        if command is None:
            raise LookupError(name)
        context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
        for child, child_context in walk(command, context):
            yield child_context.command_path, child, child_context


def render_page() -> str:
    """The command reference, from the commands' own help."""
    parts = ["# Commands\n", "Written by `just docs` from each command's `--help`.\n"]
    for path, command, context in all_commands():
        depth = max(2, path.count(" ") + 1)
        parts.append(f"{'#' * depth} {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def render_pages() -> dict[Path, str]:
    """Every generated page with its text."""
    return {
        PAGE: render_page(),
        REFERENCE / "data-formats.md": render_formats(),
        REFERENCE / "data-rules.md": render_rules(),
        REFERENCE / "diagnoses.md": render_diagnoses(),
    }


def main() -> int:
    """Write the pages, or with --check say whether they are up to date (exit 1 when not)."""
    pages = render_pages()
    if "--check" in sys.argv[1:]:
        return (
            0 if all(path.exists() and path.read_text(encoding="utf-8") == text for path, text in pages.items()) else 1
        )
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
