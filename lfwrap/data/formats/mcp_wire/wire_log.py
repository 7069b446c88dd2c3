"""MCP on the wire: JSON-RPC sessions and desktop logs of every published version → tools, calls and their results.

Versions 2024-11-05, 2025-03-26 (batches), 2025-06-18 (structured content), 2025-11-25 and 2026-07-28 (no
``initialize``, ``resultType``) are read by what is in the messages, not by the version they announce.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import json_or_none
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.schema.conversation import Tool

_DESKTOP = re.compile(
    r"^\d{4}-\d\d-\d\dT[\d:.]+Z?\s+\[\w+\]\s+\[(?P<server>[^\]]+)\]\s*"
    r"(?:Message from (?P<sender>client|server): )?(?P<rest>.*)$"
)
_MESSAGE_KEYS = ("message", "payload", "data")
_SESSION_KEYS = ("session", "sessionId", "session_id", "server")
_ONLY_SESSION = "session"


@dataclass(slots=True)
class WireCall:
    """One ``tools/call`` and what came back.

    Attributes:
        session: the server, as the log names it.
        ids: the request's id as text, and those of earlier tries that asked for more input.
        name: the tool.
        arguments: the arguments.
        line: 1-based line of the request.
        answered_line: 1-based line of the reply, or None.
        result: the MCP result, or a JSON-RPC error as ``{"error": {…}}``; None while there is no reply.
    """

    session: str
    ids: tuple[str, ...]
    name: str
    arguments: Any
    line: int
    answered_line: int | None = None
    result: Mapping[str, Any] | None = None


@dataclass(slots=True)
class WireLog:
    """What a log holds.

    Attributes:
        tools: session → its tools, in the server's order.
        calls: the completed and the unanswered calls, in the order of their requests.
        servers: session → ``serverInfo``, where it was said.
        versions: session → protocol version, where it was said.
        skipped: lines and messages that were no use, by kind.
    """

    tools: dict[str, dict[str, Tool]] = field(default_factory=dict)
    calls: list[WireCall] = field(default_factory=list)
    servers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def tools_file(self) -> list[dict[str, Any]]:
        """The tools as `lfwrap.data.tools.catalogue` reads them: one ``tools/list`` result for each server."""
        return [
            {
                "serverInfo": dict(self.servers.get(session, {"name": session})),
                "tools": [_tool_json(tool) for tool in tools.values()],
            }
            for session, tools in self.tools.items()
        ]


def _tool_json(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "inputSchema": dict(tool.parameters)}


@dataclass(frozen=True, slots=True)
class _Message:
    session: str
    sender: str
    line: int
    body: Mapping[str, Any]


@dataclass(slots=True)
class _Pending:
    method: str
    sender: str
    params: Mapping[str, Any]
    call: WireCall | None


def sniff_wire(head: str) -> str | None:
    """Why the beginning of a file looks like an MCP log, or None.

    >>> sniff_wire('{"jsonrpc": "2.0", "id": 1, "method": "ping"}'), sniff_wire("hello")
    ('JSON-RPC messages, one a line', None)
    """
    for text in head.lstrip("\ufeff").splitlines():
        if not text.strip():
            continue
        if _DESKTOP.match(text):
            return "lines with time, level and [server], as MCP clients log" if "jsonrpc" in head else None
        body = _unwrap(json_or_none(text))[0]
        return "JSON-RPC messages, one a line" if body and _is_rpc(body[0]) else None
    return None


def read_wire(lines: Iterable[str]) -> WireLog:
    """Read a log, line by line.

    Args:
        lines: JSON-RPC messages (or batches of them), bare, wrapped in a record or behind a desktop log's prefix.

    >>> request = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add"}}'
    >>> [(call.name, call.ids, call.line) for call in read_wire([request]).calls]
    [('add', ('1',), 1)]
    """
    log = WireLog()
    reader = _Reader(log)
    for message in _messages(lines, log):
        reader.take(message)
    log.calls = [call for call in log.calls if call.result is None or not needs_input(call.result)]
    return log


def _messages(lines: Iterable[str], log: WireLog) -> Iterator[_Message]:
    for number, raw in enumerate(lines, 1):
        text = raw.strip().lstrip("\ufeff")
        if not text:
            continue
        session, sender = _ONLY_SESSION, ""
        if found := _DESKTOP.match(text):
            session, sender, text = found["server"], found["sender"] or "", found["rest"].strip()
        if not text.startswith(("{", "[")):
            log.skipped["not a message"] += 1
            continue
        bodies, wrapper = _unwrap(json_or_none(text))
        named = next((str(wrapper[key]) for key in _SESSION_KEYS if wrapper.get(key)), session)
        if not bodies:
            log.skipped["no JSON-RPC"] += 1
        for body in bodies:
            if _is_rpc(body):
                yield _Message(named, sender, number, body)
            else:
                log.skipped["no JSON-RPC"] += 1


def _unwrap(value: Any) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """The messages of one line, and the record around them."""
    wrapper: Mapping[str, Any] = {}
    if isinstance(value, Mapping) and "jsonrpc" not in value:
        inner = next((value[key] for key in _MESSAGE_KEYS if isinstance(value.get(key), Mapping | list | str)), None)
        wrapper, value = value, json_or_none(inner) if isinstance(inner, str) else inner
    batch = value if isinstance(value, list) else [value]
    return [body for body in batch if isinstance(body, Mapping)], wrapper


def _is_rpc(body: Mapping[str, Any]) -> bool:
    return body.get("jsonrpc") == "2.0"


class _Reader:
    """Pairs requests and replies by session and id."""

    def __init__(self, log: WireLog) -> None:
        self._log = log
        self._pending: dict[tuple[str, str], list[_Pending]] = {}
        self._waiting: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def take(self, message: _Message) -> None:
        """Take one message."""
        body = message.body
        if "method" in body:
            if "id" in body:
                self._request(message)
        elif "id" in body and ("result" in body or "error" in body):
            self._reply(message)
        else:
            self._log.skipped["no JSON-RPC"] += 1

    def _request(self, message: _Message) -> None:
        method = str(message.body["method"])
        params = message.body.get("params")
        params = params if isinstance(params, Mapping) else {}
        if method == "initialize":  # the server was started anew: its ids begin again
            for key in [key for key in self._pending if key[0] == message.session]:
                del self._pending[key]
        self._note_version(message.session, params)
        call = self._new_call(message, params) if method == "tools/call" else None
        key = (message.session, _id(message.body["id"]))
        self._pending.setdefault(key, []).append(_Pending(method, message.sender, params, call))

    def _new_call(self, message: _Message, params: Mapping[str, Any]) -> WireCall:
        name, arguments = str(params.get("name", "")), params.get("arguments")
        earlier = self._waiting.pop((message.session, name, _canonical(arguments)), ())
        call = WireCall(message.session, (_id(message.body["id"]), *earlier), name, arguments, message.line)
        self._log.calls.append(call)
        return call

    def _reply(self, message: _Message) -> None:
        key = (message.session, _id(message.body["id"]))
        waiting = self._pending.get(key, [])
        result = message.body.get("result")
        fitting = [known for known in waiting if _fits(known, message.sender, result)]
        if not fitting:
            self._log.skipped["reply without a request"] += 1
            return
        request = fitting[0]
        waiting.remove(request)
        if request.call is not None:
            self._answer(request.call, message)
        elif isinstance(result, Mapping):
            self._note_result(request, message.session, result)

    def _answer(self, call: WireCall, message: _Message) -> None:
        result = message.body.get("result")
        call.answered_line = message.line
        call.result = result if isinstance(result, Mapping) else {"error": message.body.get("error")}
        if needs_input(call.result):
            self._log.skipped["answered by input_required"] += 1
            self._waiting[call.session, call.name, _canonical(call.arguments)] = call.ids

    def _note_result(self, request: _Pending, session: str, result: Mapping[str, Any]) -> None:
        if request.method == "tools/list" and isinstance(result.get("tools"), list):
            self._note_tools(session, result["tools"], new="cursor" not in request.params)
        elif request.method in ("initialize", "server/discover"):
            self._note_version(session, result)
            if isinstance(result.get("serverInfo"), Mapping):
                self._log.servers[session] = result["serverInfo"]

    def _note_tools(self, session: str, values: Sequence[Any], *, new: bool) -> None:
        known = {} if new else self._log.tools.get(session, {})
        for value in values:
            try:
                tool = parse_tool(value, RowNotes())
            except Reject:
                self._log.skipped["a tool without a name or a schema"] += 1
            else:
                known[tool.name] = tool
        self._log.tools[session] = known

    def _note_version(self, session: str, values: Mapping[str, Any]) -> None:
        meta = values.get("_meta")
        version = values.get("protocolVersion") or (
            meta.get("io.modelcontextprotocol/protocolVersion") if isinstance(meta, Mapping) else None
        )
        if isinstance(version, str):
            self._log.versions[session] = version


def _fits(request: _Pending, sender: str, result: Any) -> bool:
    """Whether a reply can answer a request: not from the one who asked, and of the right shape.

    Both sides number their requests; a plain session doesn't say who speaks.
    """
    if sender and request.sender:
        return sender != request.sender
    if not isinstance(result, Mapping):
        return True
    if request.method == "tools/call":
        return (
            bool({"content", "structuredContent", "resultType", "toolResult"} & result.keys()) and "role" not in result
        )
    if request.method == "tools/list":
        return "tools" in result
    return True


def needs_input(result: Mapping[str, Any]) -> bool:
    """Whether a result only asks for more input (protocol 2026-07-28), and so does not answer the call yet.

    >>> needs_input({"resultType": "input_required"}), needs_input({"content": []})
    (True, False)
    """
    return result.get("resultType") == "input_required"


def _id(value: Any) -> str:
    return str(value)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
