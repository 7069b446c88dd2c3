"""Lists of tools, one for each server: from tools files, folders of them, wire logs and live servers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.mcp_wire.wire_log import read_wire_file, sniff_wire
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.tools.mcp_client import ask_server
from lfwrap.errors import DataError, Finding, Severity

_SUFFIXES = frozenset({".json", ".jsonl", ".log"})
_HEAD_CHARACTERS = 1 << 16


@dataclass(frozen=True, slots=True)
class ToolList:
    """What one server offers.

    Attributes:
        place: the file it comes from, or the live server's name.
        server: its ``serverInfo`` (name, version); empty where a file doesn't say.
        tools: its tools, in its order.
    """

    place: str
    server: Mapping[str, Any]
    tools: tuple[Tool, ...]

    @property
    def name(self) -> str:
        """The server's name, or the file's where that doesn't say."""
        return str(self.server.get("name") or Path(self.place).stem)

    def to_json(self) -> dict[str, Any]:
        """A ``tools/list`` result, as this module reads it."""
        tools = [
            {"name": tool.name, "description": tool.description, "inputSchema": dict(tool.parameters)}
            for tool in self.tools
        ]
        return {"serverInfo": dict(self.server) or {"name": self.name}, "tools": tools}


def collect_tool_lists(
    paths: Sequence[Path], servers: Sequence[str], findings: list[Finding], *, timeout_s: float = 60.0
) -> list[ToolList]:
    """The lists of files, folders (searched for .json, .jsonl and .log) and live servers.

    A file holds a list of tools, an MCP ``tools/list`` result, a list of such results, a JSON-RPC reply, or a wire log.

    Args:
        paths: files and folders.
        servers: command lines of MCP servers to start and to ask.
        findings: takes a warning for everything that is not a tool.
        timeout_s: how long a server may take.

    Raises:
        DataError: a file can't be read, is a client's configuration with its keys, or there is no tool at all.
        PreflightError: a server can't be asked.
    """
    lists = [found for path in paths for file in tools_files(path) for found in read_tool_lists(file, findings)]
    for command in servers:
        server = ask_server(command, timeout_s=timeout_s)
        lists.append(ToolList(str(server.info["name"]), server.info, server.tools))
    if (paths or servers) and not any(found.tools for found in lists):
        where = ", ".join([*map(str, paths), *(["the live server"] if servers else [])])
        raise DataError(f"no tools in {where}", hint="Name tools/list results or tools files.")
    return lists


def merge_tool_lists(lists: Iterable[ToolList]) -> list[ToolList]:
    """Lists of one and the same server (or, without one, of one place) as one; a tool that is there twice once."""
    merged: dict[str, ToolList] = {}
    for found in lists:
        key = json.dumps(dict(found.server), sort_keys=True) if found.server else found.place
        known = merged.setdefault(key, replace(found, tools=()))
        new = [tool for tool in found.tools if tool not in known.tools]
        merged[key] = replace(known, tools=(*known.tools, *new))
    return [found for found in merged.values() if found.tools]


def tools_files(path: Path) -> Iterator[Path]:
    """A file, or the files of a folder that may hold tools.

    Raises:
        DataError: there is neither.
    """
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    elif path.is_file():
        yield path
    else:
        raise DataError(f"{path}: there is no such file or folder", hint="Check the path of the tools.")


def read_tool_lists(path: Path, findings: list[Finding]) -> list[ToolList]:
    """The lists of one file; what is not a tool becomes a warning in ``findings``.

    Raises:
        DataError: the file can't be read, is not JSON, or is a client's configuration.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Name JSON files in UTF-8.") from error
    lists = []
    number = 0
    for server, values in _lists_of(path, text, findings):
        tools = []
        for number, value in enumerate(values, number + 1):  # noqa: B020 - counts on over the lists of a file
            try:
                tools.append(parse_tool(value, RowNotes()))
            except Reject as reject:
                message = f"entry {number}: {reject.reason}"
                findings.append(Finding(reject.rule, message, severity=Severity.WARNING, file=str(path)))
        lists.append(ToolList(str(path), server, tuple(tools)))
    return lists


def _lists_of(path: Path, text: str, findings: list[Finding]) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    """``serverInfo`` and what should be tools, for each list."""
    if sniff_wire(text[:_HEAD_CHARACTERS]):
        yield from _lists_of_log(path, findings)
        return
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        document = _json_lines(text)
        if document is None:
            raise DataError(f"{path}: is not JSON: {error}", hint="Name tools/list results or tools files.") from error
    if isinstance(document, Mapping) and "mcpServers" in document:
        raise DataError(
            f"{path}: this is a client's configuration (mcpServers), which may hold keys; its content is not shown",
            hint="Fetch the tools from the running server with --mcp-server, or name its tools/list result.",
        )
    yield from _unfold(document)


def _lists_of_log(path: Path, findings: list[Finding]) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    """The same of a wire log; a list that the log holds cut or broken becomes a warning."""
    for server, offered in read_wire_file(path).tools_files():
        if offered.problem is None:
            yield server, offered.values
            continue
        rule, reason = offered.problem.rule, offered.problem.reason
        findings.append(Finding(rule, reason, severity=Severity.WARNING, file=str(path), line=offered.line))


def _json_lines(text: str) -> list[Any] | None:
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()] or None
    except (ValueError, RecursionError):
        return None


def _unfold(value: Any) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    """The lists inside of lists, ``tools/list`` results, JSON-RPC replies and `lfwrap data tools --json`."""
    bare: list[Any] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list):
            yield from _unfold(item)
        elif isinstance(item, Mapping) and isinstance(item.get("servers"), list):
            yield from _unfold(item["servers"])
        elif isinstance(item, Mapping) and isinstance(item.get("tools"), list):
            info = item.get("serverInfo")
            yield (info if isinstance(info, Mapping) else {}), item["tools"]
        elif isinstance(item, Mapping) and isinstance(item.get("result"), Mapping):
            yield from _unfold(item["result"])
        else:
            bare.append(item)  # a tool, or something that `parse_tool` refuses with a reason
    if bare:
        yield {}, bare
