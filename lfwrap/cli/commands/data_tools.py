"""``lfwrap data tools``: the tools of files, logs and live MCP servers as one tools file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.view import output
from lfwrap.errors import DataError, UsageError

if TYPE_CHECKING:
    from lfwrap.data.tools.tool_lists import ToolList

_DESCRIPTION_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ToolsArgs:
    """The command line of `lfwrap data tools`.

    Attributes:
        sources: tools files, folders and logs.
        servers: commands that start MCP servers.
        timeout_s: seconds that a server may take.
        out: the tools file to write.
        force: replace it.
        as_json: print one JSON object.
    """

    sources: tuple[Path, ...]
    servers: tuple[str, ...]
    timeout_s: float
    out: Path | None
    force: bool
    as_json: bool


@click.command("tools")
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[SOURCE]...")
@click.option(
    "--mcp-server",
    "servers",
    multiple=True,
    metavar="COMMAND",
    help="Ask a live MCP server, which this command starts.",
)
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="Seconds that a live server may take.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a tools file for --tools.")
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; --tools reads it, too.")
@takes(ToolsArgs)
def tools_command(args: ToolsArgs) -> None:
    r"""List the tools of tools files, folders, MCP logs and live servers; with --out as one tools file.

    A server is started with little of the environment; give it what it needs: `env NAME=VALUE command args`.

    \b
    Example:
      lfwrap data tools session.log servers/ --out tools.json
      lfwrap data tools --mcp-server "python server.py --root data"
    """
    from lfwrap import files
    from lfwrap.data.tools.catalogue import build_catalogue
    from lfwrap.data.tools.tool_lists import collect_tool_lists, merge_tool_lists
    from lfwrap.errors import Finding

    out = args.out
    if not args.sources and not args.servers:
        raise UsageError("nothing to take tools from", hint="Name files, folders or logs, or --mcp-server COMMAND.")
    if out is not None and out.exists() and not args.force:
        raise DataError(f"{out}: exists already", hint="Name another file, or replace it with --force.")
    findings: list[Finding] = []
    lists = merge_tool_lists(collect_tool_lists(args.sources, args.servers, findings, timeout_s=args.timeout_s))
    findings = [*build_catalogue(lists, findings).findings]
    for finding in findings:
        output.say(f"warning: {finding}")
    values = [found.to_json() for found in lists]
    if out is not None:
        files.write_json(out, values)
    if args.as_json:
        found = {"tools": sum(len(each.tools) for each in lists), "servers": values, "file": str(out) if out else None}
        output.print_json("data-tools", {**found, "findings": [finding.to_json() for finding in findings]})
    elif out is not None:
        output.result(str(out))
    else:
        _print_tools(lists)
    output.say(f"{sum(len(found.tools) for found in lists)} tools of {len(lists)} servers or files")


def _print_tools(lists: list[ToolList]) -> None:
    from lfwrap.cli.view.plain_text import one_line

    width = max(len(tool.name) for found in lists for tool in found.tools)
    for found in lists:
        output.result(f"{found.name}:")
        for tool in found.tools:
            output.result(f"  {tool.name:<{width}}  {one_line(tool.description, _DESCRIPTION_CHARACTERS)}".rstrip())
