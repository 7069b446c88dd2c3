"""Requests and replies brought together: by session and id, and never by guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.mcp_wire.wire_calls import LostMessage, ToolsOffered, WireCall, WireLog, needs_input
from lfwrap.data.formats.mcp_wire.wire_cuts import find_cut
from lfwrap.data.formats.mcp_wire.wire_messages import WireMessage, is_other_side
from lfwrap.data.formats.parts.arguments import dump_key
from lfwrap.data.formats.parts.schemas import parse_tool

_RESULT_KEYS = frozenset({"content", "structuredContent", "resultType", "toolResult", "isError"})
_OTHER_KEYS = frozenset({"role", "action", "tools", "roots", "resources", "prompts"})  # of other methods' results


@dataclass(slots=True)
class _Open:
    """A request whose reply may still come."""

    method: str
    sender: str
    line: int
    body: Mapping[str, Any]
    call: WireCall | None

    @property
    def params(self) -> Mapping[str, Any]:
        found = self.body.get("params")
        return found if isinstance(found, Mapping) else {}


class Pairing:
    """Takes a log's messages in their order and fills the log."""

    def __init__(self, log: WireLog) -> None:
        self._log = log
        self._open: dict[tuple[str, str], list[_Open]] = {}
        self._waiting: dict[tuple[str, str, str], tuple[str, ...]] = {}
        self._last_replies: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._muddled: dict[tuple[str, str], Reject] = {}

    def take(self, message: WireMessage) -> None:
        """Take the next message of the log."""
        body = message.body
        if "method" in body:
            if "id" in body:
                self._request(message)
            elif body["method"] == "notifications/cancelled":
                self._cancel(message)
            elif message.problem is not None:
                self._lose(message, message.problem)
        elif "id" in body and ("result" in body or "error" in body or message.text):
            self._reply(message)
        elif message.problem is not None:
            self._lose(message, message.problem)
        else:
            self._log.skipped["no JSON-RPC"] += 1

    def _lose(self, message: WireMessage, problem: Reject) -> None:
        text = message.text or dump_key(dict(message.body))
        self._log.lost.append(LostMessage(message.line, problem, text))

    # Requests

    def _request(self, message: WireMessage) -> None:
        method, params = str(message.body["method"]), message.body.get("params")
        params = params if isinstance(params, Mapping) else {}
        key = (message.session, as_key(message.body["id"]))
        waiting = self._open.setdefault(key, [])
        if any(known.body == message.body for known in waiting):
            self._log.skipped["logged twice"] += 1
            return
        if method == "initialize":  # the server was started anew: its ids begin again
            for begun in [begun for begun in self._open if begun[0] == message.session]:
                del self._open[begun]
            self._muddled = {known: why for known, why in self._muddled.items() if known[0] != message.session}
            waiting = self._open.setdefault(key, [])
        self._last_replies.pop(key, None)
        self._note_version(message.session, params)
        call = self._new_call(message, params) if method == "tools/call" else None
        if call is not None and key in self._muddled:  # a reply to one of the earlier ones may still come
            call.spoil(self._muddled[key], message.line, "the request")
        waiting.append(_Open(method, message.sender, message.line, message.body, call))

    def _new_call(self, message: WireMessage, params: Mapping[str, Any]) -> WireCall:
        name, arguments = str(params.get("name", "")), params.get("arguments")
        earlier = self._waiting.pop((message.session, name, dump_key(arguments, sort_keys=True)), ())
        ids = (as_key(message.body["id"]), *earlier)
        call = WireCall(message.session, ids, name, arguments, message.line)
        call.unused["request"] = without(message.body, ("jsonrpc", "id", "method", "params"))
        call.unused["request.params"] = without(params, ("name", "arguments"))
        self._log.calls.append(call)
        if message.problem is not None:
            call.spoil(message.problem, message.line, "the request")
        elif mark := find_cut(arguments):
            call.spoil(_cut(mark), message.line, "the request")
        return call

    def _cancel(self, message: WireMessage) -> None:
        params = message.body.get("params")
        wanted = params.get("requestId") if isinstance(params, Mapping) else None
        key = (message.session, as_key(wanted))
        for request in list(self._open.get(key, ())):
            if is_other_side(request.sender, message.sender) is not True:
                self._open[key].remove(request)
                self._last_replies[key] = {}  # what comes now, nobody waits for
                if request.call is not None:
                    request.call.cancelled_line = message.line

    # Replies

    def _reply(self, message: WireMessage) -> None:
        key = (message.session, as_key(message.body["id"]))
        waiting = self._open.get(key, [])
        fitting = [known for known in waiting if _fits(known, message)]
        calls = [known.call for known in fitting if known.call is not None]
        if not fitting:
            self._unasked(key, message)
            return
        self._last_replies[key] = message.body
        if len(fitting) > 1 and calls:
            self._ambiguous(fitting, calls, waiting, message)
            return
        request = fitting[0]
        waiting.remove(request)
        result = message.body.get("result")
        if request.call is not None:
            self._answer(request.call, message)
        elif request.method == "tools/list" and (message.problem is not None or isinstance(result, Mapping)):
            self._note_list(message, new="cursor" not in request.params)
        elif message.problem is not None:
            self._lose(message, message.problem)
        elif isinstance(result, Mapping) and request.method in ("initialize", "server/discover"):
            self._note_version(message.session, result)
            if isinstance(result.get("serverInfo"), Mapping):
                self._log.servers[message.session] = result["serverInfo"]

    def _unasked(self, key: tuple[str, str], message: WireMessage) -> None:
        """A reply that no open request waits for: logged twice, too late, or asked before the log begins."""
        result = message.body.get("result")
        if key in self._last_replies and self._last_replies[key] in ({}, message.body):
            self._log.skipped["logged twice, or after it was cancelled"] += 1
        elif message.problem is not None:
            self._lose(message, message.problem)
        elif isinstance(result, Mapping) and _are_tools(result.get("tools")):
            self._note_list(message, new=message.session not in self._log.lists)
        elif calls := [known.call for known in self._open.get(key, ()) if known.call is not None]:
            for call in calls:
                call.spoil(Reject("structure", "it is no result of a tool"), message.line, "the reply")
        elif isinstance(result, Mapping) and _is_surely_a_result(result):
            what = f"the reply to the id {key[1]!r}: the log holds no request of this id that is still open"
            self._lose(message, Reject("unmatched-result", what))
        else:
            self._log.skipped["reply without a request"] += 1

    def _ambiguous(
        self, fitting: Sequence[_Open], calls: Sequence[WireCall], waiting: list[_Open], message: WireMessage
    ) -> None:
        lines = ", ".join(str(request.line) for request in fitting)
        reason = Reject("unmatched-result", f"the requests in lines {lines} have its id: whose it is can't be told")
        for call in calls:
            call.spoil(reason, message.line, "the reply")
        key = (message.session, as_key(message.body["id"]))
        self._muddled[key] = Reject("unmatched-result", f"the requests in lines {lines} have its id, too")
        for request in fitting:
            waiting.remove(request)
        self._last_replies[key] = {}

    def _answer(self, call: WireCall, message: WireMessage) -> None:
        result = message.body.get("result")
        if message.problem is not None:
            call.spoil(message.problem, message.line, "the reply")
        elif mark := find_cut(message.body.get("result", message.body.get("error"))):
            call.spoil(_cut(mark), message.line, "the reply")
        call.answered_line = message.line
        call.unused["reply"] = without(message.body, ("jsonrpc", "id", "result", "error"))
        call.result = result if isinstance(result, Mapping) else {"error": message.body.get("error")}
        if needs_input(call.result):
            self._log.skipped["answered by input_required"] += 1
            self._waiting[call.session, call.name, dump_key(call.arguments, sort_keys=True)] = call.ids

    def _note_list(self, message: WireMessage, *, new: bool) -> None:
        lists = self._log.lists.setdefault(message.session, [])
        if new or not lists:
            lists.append(ToolsOffered(message.line))
        offered = lists[-1]
        result = message.body.get("result")
        values = result.get("tools") if isinstance(result, Mapping) else None
        if isinstance(result, Mapping):
            offered.unused.update(without(result, ("tools", "nextCursor")))
        mark = find_cut(values)
        if message.problem is not None or mark:
            problem = message.problem or _cut(str(mark))
            what = f"the list of tools in line {message.line} can't be used: {problem.reason}"
            offered.problem = Reject(problem.rule, what)
        for value in values if isinstance(values, list) else []:
            offered.values.append(value)
            try:
                tool = parse_tool(value, RowNotes())
            except Reject:
                self._log.skipped["a tool without a name or a schema"] += 1
            else:
                offered.tools[tool.name] = tool

    def _note_version(self, session: str, values: Mapping[str, Any]) -> None:
        meta = values.get("_meta")
        version = values.get("protocolVersion") or (
            meta.get("io.modelcontextprotocol/protocolVersion") if isinstance(meta, Mapping) else None
        )
        if isinstance(version, str):
            self._log.versions[session] = version


def _fits(request: _Open, message: WireMessage) -> bool:
    """Whether a reply can answer a request: not from the one who asked, and of the right shape.

    Both sides number their requests; a plain session doesn't say who speaks.
    """
    if is_other_side(request.sender, message.sender) is False:
        return False
    result = message.body.get("result")
    if not isinstance(result, Mapping):
        return True
    if request.method == "tools/call":
        return _is_result(result)
    if request.method == "tools/list":
        return "tools" in result
    return not (_is_surely_a_result(result) or _are_tools(result.get("tools")))


def _is_result(result: Mapping[str, Any]) -> bool:
    return bool(_RESULT_KEYS & result.keys()) and not _OTHER_KEYS & result.keys()


def _is_surely_a_result(result: Mapping[str, Any]) -> bool:
    return _is_result(result) and (isinstance(result.get("content"), list) or "structuredContent" in result)


def _are_tools(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tool, Mapping) and "inputSchema" in tool for tool in value)


def _cut(mark: str) -> Reject:
    return Reject("truncated", f"the client cut a text in it: {mark!r}")


def without(value: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """An object without some of its fields.

    >>> without({"a": 1, "b": 2}, ["a"])
    {'b': 2}
    """
    return {key: held for key, held in value.items() if key not in keys}


def as_key(value: Any) -> str:
    """An id as text: numbers and texts are one kind here, as clients mix them.

    >>> as_key(7), as_key("7"), as_key(7.0)
    ('7', '7', '7')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
