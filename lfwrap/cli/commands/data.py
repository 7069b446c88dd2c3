"""``lfwrap data``: what can be read, and what is in it."""

from __future__ import annotations

import json

import click

from lfwrap.cli.commands.data_show import show_command
from lfwrap.cli.commands.data_stats import stats_command
from lfwrap.cli.commands.data_tools import tools_command
from lfwrap.cli.options.args import AS_JSON
from lfwrap.cli.view import output


@click.group()
def command() -> None:
    r"""List formats, collect tools, and look into data sets.

    \b
    Example:
      lfwrap data formats
      lfwrap data tools session.log --out tools.json
      lfwrap data stats law --dataset-dir data/law
    """


command.add_command(tools_command)
command.add_command(stats_command)
command.add_command(show_command)


@command.command("formats")
@AS_JSON
def formats_command(as_json: bool) -> None:
    r"""List the input formats of `lfwrap prepare-data`, each with a row as it stands in a file.

    \b
    Example:
      lfwrap data formats --json
    """
    from lfwrap.data.formats import FORMATS

    if as_json:
        rows = [
            {
                "name": known.name,
                "description": known.description,
                "told_by": known.evidence(json.loads(known.example)),
                "example": known.example,
            }
            for known in FORMATS.values()
        ]
        output.print_json("data-formats", {"formats": rows})
        return
    for known in FORMATS.values():
        output.result(f"{known.name}\n    {known.description}\n    {known.example}")
