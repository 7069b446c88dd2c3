"""A live MCP server's tools, asked for over stdio with the official client (the extra ``mcp``)."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap import __version__
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.schema.redaction import redact
from lfwrap.errors import DataError, PreflightError

_MAX_PAGES = 1000


@dataclass(frozen=True, slots=True)
class LiveServer:
    """A server that was asked.

    Attributes:
        info: its ``serverInfo``: name and version.
        tools: its tools, in its order.
    """

    info: Mapping[str, Any]
    tools: tuple[Tool, ...]


def find_server(command: str) -> tuple[Any, Any, str]:
    """The client's package, the parameters it starts the server with, and the program's name as it may be shown.

    Raises:
        PreflightError: the ``mcp`` package or the server's program is missing.
    """
    try:
        import mcp
    except ImportError as error:
        raise PreflightError(
            "--mcp-server needs the 'mcp' package", hint="Install it with: pip install 'lfwrap[mcp]'"
        ) from error
    words = server_words(command)
    shown = redact(words[0])
    if shutil.which(words[0]) is None:
        raise PreflightError(
            f"--mcp-server: there is no command {shown!r}",
            hint="Name the program that starts the server, with its path where PATH doesn't lead to it.",
        )
    return mcp, mcp.StdioServerParameters(command=words[0], args=words[1:]), shown


def ask_server(command: str, *, timeout_s: float = 60.0) -> LiveServer:
    """Start a server, list its tools, stop it.

    The server gets no more of the environment than what programs need (PATH, HOME and the like): keys that it wants are
    given in the command (``env NAME=VALUE server``).

    Args:
        command: the server's command line, quoted as in a shell (``"uvx some-server --root data"``).
        timeout_s: how long it may take in all.

    Raises:
        PreflightError: the ``mcp`` package is missing, or the server can't be started or doesn't answer.
        DataError: a tool that the server names can't be understood.
    """
    mcp, server, shown = find_server(command)
    try:
        info, listed = asyncio.run(_list_tools(mcp, server, timeout_s))
    except TimeoutError as error:
        raise PreflightError(f"MCP server {shown}: no answer within {timeout_s:g} s", hint=_HINT) from error
    except Exception as error:
        # The client raises whatever went wrong in its tasks, often as a group of one.
        reason = redact(str(innermost(error)))
        raise PreflightError(f"MCP server {shown}: {reason}", hint=_HINT) from error
    try:
        return LiveServer(info, tuple(parse_tool(tool, RowNotes()) for tool in listed))
    except Reject as reject:
        raise DataError(f"MCP server {shown}: {reject.reason}", hint="Report it to the server's authors.") from reject


_HINT = "Run the command by hand: it should wait for input, and write nothing but JSON-RPC to its output."


def server_words(command: str) -> list[str]:
    """A command line as its words. Raises PreflightError when it is empty or its quotes don't match.

    >>> server_words("uvx some-server --root 'my data'")
    ['uvx', 'some-server', '--root', 'my data']
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PreflightError(
            "--mcp-server: the command's quotes don't match", hint="Quote it as in a shell."
        ) from error
    if not words:
        raise PreflightError("--mcp-server: the command is empty", hint='For example: --mcp-server "python server.py"')
    return words


async def _list_tools(mcp: Any, server: Any, timeout_s: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The server's name and version, and all pages of its tools, as they stand on the wire."""
    async with asyncio.timeout(timeout_s):
        ourselves = mcp.Implementation(name="lfwrap", version=__version__)
        async with mcp.Client(server, client_info=ourselves) as client:
            tools: list[dict[str, Any]] = []
            cursor: str | None = None
            for _ in range(_MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
                cursor = page.next_cursor
                if not cursor:
                    break
            info = client.server_info
            return {"name": info.name, "version": info.version} if info else {"name": "server"}, tools


def innermost(error: BaseException) -> BaseException:
    """The error inside of groups of one, which the client's tasks raise."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error
