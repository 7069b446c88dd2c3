"""A live MCP server kept open: its tools, and calls of them, through the official client (the extra ``mcp``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap import __version__
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.formats.parts.texts import mcp_result
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.schema.redaction import redact
from lfwrap.data.tools.mcp_client import find_server, innermost
from lfwrap.errors import DataError, PreflightError

_MAX_PAGES = 1000


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave.

    Attributes:
        text: as `prepare-data` writes results of MCP logs, so that the model reads what training showed it.
        is_error: whether the call failed.
    """

    text: str
    is_error: bool = False


class McpSession:
    """An open server. `open_mcp_session` makes it."""

    def __init__(self, portal: Any, client: Any, shown: str, timeout_s: float) -> None:
        self._portal, self._client, self._shown, self._timeout_s = portal, client, shown, timeout_s
        self.tools = tuple(self._list_tools())

    def call(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call a tool; whatever goes wrong is a result that says so: the model may mend its call."""
        try:
            result = self._portal.call(self._client.call_tool, name, dict(arguments), self._timeout_s)
            body = result.model_dump(mode="json", by_alias=True, exclude_none=True)
            text, is_error = mcp_result(body, RowNotes())
        except Reject as reject:
            return ToolResult(f"Error: {reject.reason}", is_error=True)
        except Exception as error:  # noqa: BLE001 - the client raises whatever went wrong in its tasks
            return ToolResult(f"Error: {innermost(error)}", is_error=True)
        return ToolResult(text, is_error)

    def _list_tools(self) -> Iterator[Tool]:
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = self._portal.call(lambda at: self._client.list_tools(cursor=at), cursor)
            for tool in page.tools:
                try:
                    yield parse_tool(tool.model_dump(mode="json", by_alias=True, exclude_none=True), RowNotes())
                except Reject as reject:
                    raise DataError(
                        f"MCP server {self._shown}: {reject.reason}", hint="Report it to the server's authors."
                    ) from reject
            cursor = page.next_cursor
            if not cursor:
                return


@contextlib.contextmanager
def open_mcp_session(command: str, *, timeout_s: float = 60.0) -> Iterator[McpSession]:
    """Start a server and keep it open; at the end it is stopped.

    Args:
        command: the server's command line, quoted as in a shell.
        timeout_s: how long a call may take.

    Raises:
        PreflightError: the ``mcp`` package is missing, or the server can't be started or doesn't answer.
        DataError: a tool that the server names can't be understood.
    """
    mcp, server, shown = find_server(command)
    from anyio.from_thread import start_blocking_portal

    ourselves = mcp.Implementation(name="lfwrap", version=__version__)
    with contextlib.ExitStack() as stack:
        try:
            portal = stack.enter_context(start_blocking_portal())
            client = mcp.Client(server, client_info=ourselves, read_timeout_seconds=timeout_s)
            opened = stack.enter_context(portal.wrap_async_context_manager(client))
            session = McpSession(portal, opened, shown, timeout_s)
        except (DataError, PreflightError):
            raise
        except Exception as error:
            reason = redact(str(innermost(error))) or type(error).__name__
            raise PreflightError(
                f"MCP server {shown}: {reason}",
                hint="Run the command by hand: it should wait for input, and write nothing but JSON-RPC to its output.",
            ) from error
        yield session
