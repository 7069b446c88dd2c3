"""A log's JSON-RPC messages, each with its server, its sender and its line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.mcp_wire.wire_cuts import cut_in_broken
from lfwrap.data.formats.mcp_wire.wire_lines import Piece, log_pieces
from lfwrap.data.formats.mcp_wire.wire_prefix import name_sessions, sender_of, tags_of
from lfwrap.data.formats.parts.arguments import json_or_none

_MESSAGE_KEYS = ("message", "payload", "data", "msg", "raw", "body")
_SESSION_KEYS = ("session", "sessionId", "session_id", "server", "serverName", "server_name")
_SENDER_KEYS = ("direction", "sender", "from", "dir", "source")
_CLIENT_METHODS = ("initialize", "tools/list", "tools/call", "server/discover")
_FAMILIES = ({"client", "server"}, {"<", ">"})
_BROKEN_ID = re.compile(
    r'(?:^\W*\{\s*|"jsonrpc"\s*:\s*"2\.0"\s*,\s*)"id"\s*:\s*("(?:[^"\\]|\\.)*"|\d+)\s*[,}]'
)  # of the message itself, not of what it holds
_PRINTED_ID = re.compile(r"""jsonrpc['"]?\s*[:=]\s*['"]2\.0['"],\s*id['"]?\s*[:=]\s*(?:(\d+)|'([^']*)')""")
_BROKEN_METHOD = re.compile(r'^\W*\{(?:\s*"(?:jsonrpc|id)"\s*:[^,{}]*,)*\s*"method"\s*:\s*"([^"]*)"')
_BROKEN_NAME = re.compile(r'"params"\s*:\s*\{[^{}]*"name"\s*:\s*"([^"\\]*)"')


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One JSON-RPC message of a log.

    Attributes:
        session: the server, as the log names it.
        sender: who sent it, or empty where the log doesn't say.
        line: 1-based line on which it begins.
        body: the message; of one that is not JSON, what could be told of it: ``id``, ``method``, the tool's name.
        problem: why it can't be used, or None.
        text: the beginning of one that is not JSON.
    """

    session: str
    sender: str
    line: int
    body: Mapping[str, Any]
    problem: Reject | None = None
    text: str = ""


def wire_messages(lines: Iterable[str], skipped: Counter[str], hint: str = "") -> list[WireMessage]:
    """The messages of a log.

    Args:
        lines: the log's lines.
        skipped: counts what is no message.
        hint: the server's name as the file's says it, or empty.

    Raises:
        DataError: the lines don't let servers and levels be told apart.

    >>> [(message.session, message.line) for message in wire_messages(['[a] {"jsonrpc": "2.0"}'], Counter())]
    [('a', 1)]
    """
    said: list[tuple[tuple[str, ...], WireMessage]] = []
    seen: set[tuple[str, ...]] = set()
    for piece in log_pieces(lines):
        tags = tags_of(piece.prefix)
        found = list(_messages(piece))
        if not found:
            seen.add(tags)
            skipped["no JSON-RPC" if piece.value is not None else "not a message"] += 1
        said += [(tags, message) for message in found]
    names = name_sessions({tags for tags, message in said if not message.session}, seen, hint) if said else {}
    named = [message if message.session else replace(message, session=names[tags]) for tags, message in said]
    return list(_without_idle_senders(named))


def _messages(piece: Piece) -> Iterator[WireMessage]:
    """The messages in a piece of a log; the session is empty where its lines have to tell."""
    if piece.value is None:
        if piece.problem is not None:
            yield _broken(piece)
        return
    bodies, wrapper = unwrap(piece.value)
    session = next((str(wrapper[key]) for key in _SESSION_KEYS if isinstance(wrapper.get(key), str | int)), "")
    sender = next((wrapper[key] for key in _SENDER_KEYS if isinstance(wrapper.get(key), str)), "")
    sender = sender_of(f"[{sender}]") or sender if sender else sender_of(piece.prefix)
    for body in bodies:
        if is_rpc(body):
            yield WireMessage(session, sender, piece.line, body, piece.problem)


def _broken(piece: Piece) -> WireMessage:
    assert piece.problem is not None  # noqa: S101 - the caller looked
    text = piece.text
    mark = cut_in_broken(text)
    problem = Reject("truncated", f"the client cut the message: {mark!r}") if mark else piece.problem
    body: dict[str, Any] = {}
    if found := _BROKEN_ID.search(text):
        body["id"] = json_or_none(found.group(1))
    elif printed := _PRINTED_ID.search(text):
        body["id"] = printed.group(1) or printed.group(2)
    if method := _BROKEN_METHOD.search(text):
        body["method"] = method.group(1)
        name = _BROKEN_NAME.search(text)
        body["params"] = {"name": name.group(1) if name else ""}
    return WireMessage("", sender_of(piece.prefix), piece.line, body, problem, text)


def unwrap(value: Any) -> tuple[list[Mapping[str, Any]], Mapping[str, Any]]:
    """The objects of one JSON value that may be messages, and the record around them.

    >>> unwrap({"server": "a", "message": {"jsonrpc": "2.0"}})
    ([{'jsonrpc': '2.0'}], {'server': 'a', 'message': {'jsonrpc': '2.0'}})
    """
    wrapper: Mapping[str, Any] = {}
    if isinstance(value, Mapping) and "jsonrpc" not in value:
        inner = next((value[key] for key in _MESSAGE_KEYS if isinstance(value.get(key), Mapping | list | str)), None)
        wrapper, value = value, json_or_none(inner) if isinstance(inner, str) else inner
    batch = value if isinstance(value, list) else [value]
    return [body for body in batch if isinstance(body, Mapping)], wrapper


def is_rpc(body: Mapping[str, Any]) -> bool:
    """Whether an object is a JSON-RPC 2.0 message.

    >>> is_rpc({"jsonrpc": "2.0", "id": 1}), is_rpc({"id": 1})
    (True, False)
    """
    return body.get("jsonrpc") == "2.0"


def _without_idle_senders(messages: Iterable[WireMessage]) -> Iterator[WireMessage]:
    """The messages, without senders where all of a session have the same, or where both sides seem to be the client."""
    messages = list(messages)
    senders: dict[str, set[str]] = {}
    clients: dict[str, set[str]] = {}
    for message in messages:
        senders.setdefault(message.session, set()).add(message.sender)
        if message.body.get("method") in _CLIENT_METHODS and message.sender:
            clients.setdefault(message.session, set()).add(message.sender)
    for message in messages:
        mine = senders[message.session] - {""}
        told = len(mine) > 1 and len(clients.get(message.session, ())) <= 1
        yield message if told or not message.sender else replace(message, sender="")


def is_other_side(sender: str, other: str) -> bool | None:
    """Whether two senders are two sides; None where the log doesn't say, or says it in words of two kinds.

    >>> is_other_side("client", "server"), is_other_side("<", "<"), is_other_side("client", ">")
    (True, False, None)
    """
    if not sender or not other:
        return None
    for family in _FAMILIES:
        if (sender in family) != (other in family):
            return None
    return sender != other
