"""What a log holds: calls with their results, lists of tools, and messages that are lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.schema.conversation import Tool


@dataclass(slots=True)
class WireCall:
    """One ``tools/call`` and what came back.

    Attributes:
        session: the server, as the log names it.
        ids: the request's id as text, and those of earlier tries that asked for more input.
        name: the tool.
        arguments: the arguments.
        line: 1-based line of the request.
        unused: what else the request and its reply hold, which nobody reads, by place.
        answered_line: 1-based line of the reply, or None.
        result: the MCP result, or a JSON-RPC error as ``{"error": {…}}``; None while there is no reply.
        cancelled_line: 1-based line on which the request was cancelled, or None.
        problem: why the call can't be used, or None.
    """

    session: str
    ids: tuple[str, ...]
    name: str
    arguments: Any
    line: int
    unused: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    answered_line: int | None = None
    result: Mapping[str, Any] | None = None
    cancelled_line: int | None = None
    problem: Reject | None = None

    def spoil(self, problem: Reject, line: int, what: str) -> None:
        """Note why the call can't be used; the first reason stays."""
        if self.problem is None:
            self.problem = Reject(problem.rule, f"{what} in line {line} can't be used: {problem.reason}")


@dataclass(slots=True)
class ToolsOffered:
    """What a server listed at one time.

    Attributes:
        line: 1-based line of the reply, of its first page.
        values: the tools as the server wrote them.
        tools: those that can be read, by name.
        problem: why the list can't be used, or None.
        unused: what else the reply holds.
    """

    line: int
    values: list[Any] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)
    problem: Reject | None = None
    unused: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LostMessage:
    """A message that can't be used and belongs to no call.

    Attributes:
        line: 1-based line.
        problem: why.
        text: how it begins.
    """

    line: int
    problem: Reject
    text: str


@dataclass(slots=True)
class WireLog:
    """What a log holds.

    Attributes:
        lists: session → what its server listed, in order.
        calls: the completed and the unanswered calls, in the order of their requests.
        servers: session → ``serverInfo``, where it was said.
        versions: session → protocol version, where it was said.
        lost: messages that can't be used and belong to no call.
        skipped: lines and messages that were no use, by kind.
        name: the file.
    """

    lists: dict[str, list[ToolsOffered]] = field(default_factory=dict)
    calls: list[WireCall] = field(default_factory=list)
    servers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    lost: list[LostMessage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    name: str = ""

    @property
    def tools(self) -> dict[str, dict[str, Tool]]:
        """Session → its tools as last listed, in the server's order."""
        return {session: lists[-1].tools for session, lists in self.lists.items()}

    def offered(self, session: str, line: int) -> ToolsOffered | None:
        """What a server had listed before a line, or the first that it lists afterwards; None where it never does."""
        lists = self.lists.get(session, [])
        before = [found for found in lists if found.line <= line]
        return before[-1] if before else lists[0] if lists else None

    def sessions_named(self, name: str) -> set[str]:
        """The sessions that someone may mean by a name: their own, a part of it, or what the server calls itself."""
        sessions = {*self.lists, *(call.session for call in self.calls)}
        if name in sessions:
            return {name}
        if name == Path(self.name).stem and len(sessions) == 1:
            return sessions
        return {
            session
            for session in sessions
            if name in session.split("/") or self.servers.get(session, {}).get("name") == name
        }

    def tools_files(self) -> Iterator[tuple[Mapping[str, Any], ToolsOffered]]:
        """``serverInfo`` and the last list of each server."""
        for session, lists in self.lists.items():
            yield self.servers.get(session, {"name": session}), lists[-1]


def needs_input(result: Mapping[str, Any]) -> bool:
    """Whether a result only asks for more input (protocol 2026-07-28), and so does not answer the call yet.

    >>> needs_input({"resultType": "input_required"}), needs_input({"content": []})
    (True, False)
    """
    return result.get("resultType") == "input_required"
