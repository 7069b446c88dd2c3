"""Logs of one to four servers, interleaved at random and written in every style: each call keeps its own result."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.formats.mcp_wire.wire_log import read_wire
from lfwrap.errors import DataError

NAMES = ["alpha", "beta", "my notes", "mcp-server.x", "debug", "error", "info", "server"]
LEVELS = {"debug", "error", "info"}
TIME = "2026-02-03T04:05:06.007Z"
NOISE = [
    "npm warn deprecated something",
    "Server {\n  started: true,\n  ports: [\n    3000\n  ]\n}",
    "\x1b[33mready\x1b[0m in 12 ms",
    "    at Object.<anonymous> (index.js:1:1)",
    '{"level": "info", "msg": "listening"}',
]


@dataclass
class Said:
    """One message of the made-up log: the sender's side and what it says."""

    server: str
    sender: str
    body: dict[str, Any]


@dataclass
class Truth:
    """Call → its result's text, or None; filled while the log is made up."""

    results: dict[tuple[str, str], str | None] = field(default_factory=dict)


def tagged(first: str, second: str) -> Callable[[Said, random.Random], str]:
    def write(said: Said, draw: random.Random) -> str:
        level = draw.choice(["info", "info", "debug"]) if said.server not in LEVELS else "info"
        tags = {"level": f" [{level}]", "server": f" [{said.server}]", "": ""}
        suffix = draw.choice(["", " { metadata: undefined }", " {\n  metadata: {\n    a: 1\n  }\n}", ",", " undefined"])
        body = json.dumps(said.body, indent=draw.choice([None, None, 2]), ensure_ascii=False)
        return f"{TIME}{tags[first]}{tags[second]} Message from {said.sender}: {body}{suffix}"

    return write


def wrapped(said: Said, draw: random.Random) -> str:
    inner = said.body if draw.random() < 0.5 else json.dumps(said.body)
    return json.dumps({"timestamp": TIME, "server": said.server, "direction": said.sender, "message": inner})


def contained(said: Said, draw: random.Random) -> str:
    arrow = "-->" if said.sender == "client" else "<--"
    return f"{said.server.replace(' ', '_')}  | {arrow} {json.dumps(said.body)}"


def editor(said: Said, draw: random.Random) -> str:
    way = "editor -> server" if said.sender == "client" else "server -> editor"
    return f"2026-02-03 04:05:06.007 [{draw.choice(['trace', 'debug'])}] [{way}] {json.dumps(said.body)}"


def arrows(said: Said, draw: random.Random) -> str:
    mark = {"client": draw.choice([">>", "-->", "→"]), "server": draw.choice(["<<", "<--", "←"])}[said.sender]
    return f"{mark}{draw.choice([' ', chr(10)])}{json.dumps(said.body)}"


def framed(said: Said, draw: random.Random) -> str:
    body = json.dumps(said.body)
    return f"Content-Length: {len(body)}\r\n\r\n{body}"


def bare(said: Said, draw: random.Random) -> str:
    return json.dumps(said.body, indent=draw.choice([None, None, 2]))


FOR_MANY = {
    "[level] [server]": tagged("level", "server"),
    "[server] [level]": tagged("server", "level"),
    "[server]": tagged("server", ""),
    "records": wrapped,
    "containers": contained,
}
FOR_ONE = {
    "editor": editor,
    "arrows": arrows,
    "framed": framed,
    "bare": bare,
    "[level]": tagged("level", ""),
    **FOR_MANY,
}


def session(server: str, truth: Truth, draw: random.Random, *, begun_anew: bool) -> Iterator[Said]:
    """One server's messages: ids from 0, replies in any order, some missing, pings of the server under the same ids."""
    tool = {"name": "get", "description": server, "inputSchema": {"type": "object", "properties": {}}}
    yield Said(server, "client", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    yield Said(server, "server", {"jsonrpc": "2.0", "id": 0, "result": {"capabilities": {}}})
    yield Said(server, "client", {"method": "notifications/initialized", "jsonrpc": "2.0"})
    yield Said(server, "client", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    yield Said(server, "server", {"jsonrpc": "2.0", "id": 1, "result": {"tools": [tool]}})
    waiting: list[tuple[int, str]] = []
    for number in range(2, 2 + draw.randrange(5)):
        mark = f"{server}/{number}/{begun_anew}/{draw.randrange(10**6)}"
        call = {"name": "get", "arguments": {"mark": mark, "text": 'a } " ] {'}}
        truth.results[server, mark] = None
        yield Said(server, "client", {"method": "tools/call", "params": call, "jsonrpc": "2.0", "id": number})
        waiting.append((number, mark))
        if draw.random() < 0.3:
            yield Said(server, "server", {"jsonrpc": "2.0", "id": number, "method": "ping"})
            yield Said(server, "client", {"jsonrpc": "2.0", "id": number, "result": {}})
        while waiting and draw.random() < 0.6:
            yield replied(server, waiting.pop(draw.randrange(len(waiting))), truth)
    while waiting and draw.random() < 0.8:
        yield replied(server, waiting.pop(0), truth)


def replied(server: str, call: tuple[int, str], truth: Truth) -> Said:
    number, mark = call
    truth.results[server, mark] = f"result of {mark}"
    content = [{"type": "text", "text": f"result of {mark}"}]
    return Said(server, "server", {"jsonrpc": "2.0", "id": number, "result": {"content": content}})


def interleaved(parts: list[list[Said]], draw: random.Random) -> Iterator[Said]:
    while parts := [part for part in parts if part]:
        yield draw.choice(parts).pop(0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    st.sampled_from(sorted(FOR_ONE)),
    st.randoms(use_true_random=False),
)
def test_every_call_keeps_its_own_result(servers: list[str], style: str, draw: random.Random) -> None:
    if style not in FOR_MANY:
        servers = servers[:1]
    truth = Truth()
    parts = [
        [said for again in range(draw.choice([1, 1, 2])) for said in session(server, truth, draw, begun_anew=again > 0)]
        for server in servers
    ]
    lines = []
    for said in interleaved(parts, draw):
        if draw.random() < 0.2 and style != "arrows":
            lines.append(draw.choice(NOISE))
        lines.append(FOR_ONE[style](said, draw))
    try:
        log = read_wire("\n".join(lines).split("\n"))
    except DataError:
        assert set(servers) <= LEVELS
        return
    if len(servers) > 1 and set(servers) <= LEVELS:  # taken for levels of one server: what could be two's is nobody's
        for call in log.calls:
            if call.problem is None and call.result:
                assert call.result["content"][0]["text"] == f"result of {call.arguments['mark']}"
        return
    assert log.lost == []
    found = {}
    for call in log.calls:
        assert call.problem is None
        text = call.result["content"][0]["text"] if call.result else None
        found[call.arguments["mark"].split("/")[0], call.arguments["mark"]] = text
    assert found == truth.results
    if style in FOR_MANY and not set(servers) <= LEVELS | {"server"}:
        names = {"containers": [server.replace(" ", "_") for server in servers]}.get(style, servers)
        assert {call.session for call in log.calls} <= set(names)
        assert {session: tools["get"].description for session, tools in log.tools.items()} == dict(
            zip(names, servers, strict=True)
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(NAMES[:4]), min_size=2, max_size=4, unique=True), st.randoms(use_true_random=False))
def test_servers_that_a_log_does_not_tell_apart_never_swap_results(servers: list[str], draw: random.Random) -> None:
    """All servers write bare lines into one file: what could be two calls' result is nobody's."""
    truth = Truth()
    parts = [list(session(server, truth, draw, begun_anew=False)) for server in servers]
    for part in parts:
        del part[:5]
    log = read_wire(json.dumps(said.body) for said in interleaved(parts, draw))
    for call in log.calls:
        if call.problem is None and call.result is not None:
            assert call.result["content"][0]["text"] == f"result of {call.arguments['mark']}"
