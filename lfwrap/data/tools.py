"""The tool catalogue: tools from files, folders, wire logs and live servers, by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.data.conversation import Tool
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.schemas import parse_tool
from lfwrap.data.mcp_wire import read_wire, sniff_wire
from lfwrap.errors import DataError, Finding, Severity

_SUFFIXES = frozenset({".json", ".jsonl", ".log"})
_HEAD_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class ToolCatalogue:
    """Tools by name.

    Attributes:
        tools: the tools, in the order in which they were found.
        collisions: names that different tools share (MCP names are unique per server only): none of them is offered.
        findings: warnings about what was left out.
    """

    tools: Mapping[str, Tool] = field(default_factory=dict)
    collisions: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()


def load_catalogue(paths: Sequence[Path]) -> ToolCatalogue:
    """Tools from files and folders (searched for .json, .jsonl and .log).

    A file holds a list of tools, an MCP ``tools/list`` result, a list of such results, a JSON-RPC reply, or a wire log.

    Raises:
        DataError: a file can't be read, is a client's configuration with its keys, or there is no tool at all.
    """
    findings: list[Finding] = []
    found = [(file, tool) for path in paths for file in _files(path) for tool in load_tools(file, findings)]
    catalogue = build_catalogue(found, findings)
    if paths and not found:
        raise DataError(f"no tools in {', '.join(map(str, paths))}", hint="Name tools/list results or tools files.")
    return catalogue


def build_catalogue(found: Iterable[tuple[Path | str, Tool]], findings: Iterable[Finding] = ()) -> ToolCatalogue:
    """A catalogue of tools and where each comes from; names that mean different tools are left out."""
    tools: dict[str, Tool] = {}
    places: dict[str, str] = {}
    collisions: dict[str, str] = {}
    for place, tool in found:
        if tools.setdefault(tool.name, tool) != tool:
            collisions.setdefault(tool.name, str(place))
        places.setdefault(tool.name, str(place))
    warnings = [
        Finding(
            "tool-collision",
            f"{name!r} is another tool in {places[name]}: neither is offered",
            severity=Severity.WARNING,
            file=place,
            hint="Rename one, or give only the files that belong to the rows.",
        )
        for name, place in collisions.items()
    ]
    kept = {name: tool for name, tool in tools.items() if name not in collisions}
    return ToolCatalogue(kept, frozenset(collisions), (*findings, *warnings))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    elif path.is_file():
        yield path
    else:
        raise DataError(f"{path}: there is no such file or folder", hint="Check the path after --tools.")


def load_tools(path: Path, findings: list[Finding]) -> list[Tool]:
    """The tools of one file; what is no tool becomes a warning in ``findings``.

    Raises:
        DataError: the file can't be read, is no JSON, or is a client's configuration.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Name JSON files in UTF-8.") from error
    values = _tool_values(path, text)
    tools: list[Tool] = []
    for number, value in enumerate(values, 1):
        try:
            tools.append(parse_tool(value, RowNotes()))
        except Reject as reject:
            message = f"entry {number}: {reject.reason}"
            findings.append(Finding(reject.rule, message, severity=Severity.WARNING, file=str(path)))
    return tools


def _tool_values(path: Path, text: str) -> list[Any]:
    if sniff_wire(text[:_HEAD_CHARACTERS]):
        log = read_wire(text.splitlines())
        return [tool for server in log.tools_file() for tool in server["tools"]]
    try:
        document = json.loads(text)
    except ValueError as error:
        document = _json_lines(text)
        if document is None:
            raise DataError(f"{path}: is no JSON: {error}", hint="Name tools/list results or tools files.") from error
    if isinstance(document, Mapping) and "mcpServers" in document:
        raise DataError(
            f"{path}: this is a client's configuration (mcpServers), which may hold keys; its content is not shown",
            hint="Fetch the tools from the running server with --mcp-server, or name its tools/list result.",
        )
    return list(_unfold(document))


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()] or None
    except ValueError:
        return None


def _unfold(value: Any) -> Iterator[Any]:
    """The tools inside of lists, ``tools/list`` results, and JSON-RPC replies."""
    if isinstance(value, list):
        for item in value:
            yield from _unfold(item)
    elif isinstance(value, Mapping) and isinstance(value.get("tools"), list):
        yield from value["tools"]
    elif isinstance(value, Mapping) and isinstance(value.get("result"), Mapping):
        yield from _unfold(value["result"])
    else:
        yield value  # a tool, or something that `parse_tool` refuses with a reason
