"""Logs of MCP clients made by hypothesis: several servers whose ids overlap, replies in any order, noise between."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from made_talks import ARGUMENTS, TEXT, tools
from second_reader.said import Call, Result, Told, Tool, Turn

SERVERS = ("weather", "notes")
STYLES = ("bare", "level first", "server first", "wrapped")


class Log:
    """A log that grows line by line, and the rows that it makes together with what was asked."""

    def __init__(self, style: str, offered: dict[str, tuple[Tool, ...]]) -> None:
        self.style = style
        self.lines: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.told: list[Told | None] = []
        self.unclaimed = 0
        self.offered = offered
        self.next_id = dict.fromkeys(offered, 1)
        for server, listed in offered.items():
            values = [
                {"name": tool.name, "description": tool.description, "inputSchema": tool.schema} for tool in listed
            ]
            self.say(server, "client", {"jsonrpc": "2.0", "id": 0, "method": "tools/list"})
            self.say(server, "server", {"jsonrpc": "2.0", "id": 0, "result": {"tools": values}})

    def say(self, server: str, sender: str, body: dict[str, Any]) -> None:
        """One message."""
        text, at = json.dumps(body, ensure_ascii=False), f"2026-01-02T10:00:{len(self.lines) % 60:02d}.000Z"
        if self.style == "level first":
            text = f"{at} [info] [{server}] Message from {sender}: {text}"
        elif self.style == "server first":
            text = f"{at} [{server}] [info] Message from {sender}: {text} {{ metadata: undefined }}"
        elif self.style == "wrapped":
            text = json.dumps({"session": server, "ts": at, "message": body})
        self.lines.append(text)

    def text(self) -> str:
        """The whole log."""
        return "".join(line + "\n" for line in self.lines)


@st.composite
def logs(draw: Any, style: str) -> Log:
    """A log and what was asked."""
    servers = SERVERS[: 1 if style == "bare" else draw(st.integers(1, 2))]
    log = Log(style, {server: draw(tools()) for server in servers})
    for _ in range(draw(st.integers(1, 4))):
        _exchange(draw, log, draw(st.sampled_from(servers)))
    return log


def _exchange(draw: Any, log: Log, server: str) -> None:
    question, turns = draw(TEXT), []
    turns.append(Turn("user", question))
    ids: list[int] = []
    for _ in range(draw(st.integers(1, 2))):
        calls = [
            (draw(st.sampled_from(log.offered[server])).name, draw(ARGUMENTS)) for _ in range(draw(st.integers(1, 2)))
        ]
        begun = log.next_id[server]
        for number, (name, arguments) in enumerate(calls):
            params = {"name": name, "arguments": arguments}
            log.say(
                server, "client", {"jsonrpc": "2.0", "id": begun + number, "method": "tools/call", "params": params}
            )
        if log.style in {"level first", "server first"}:  # a server asks, too, and has ids of its own
            log.say(server, "server", {"jsonrpc": "2.0", "id": begun, "method": "ping"})
            log.say(server, "client", {"jsonrpc": "2.0", "id": begun, "result": {}})
        replies = [(number, *_reply(draw)) for number in range(len(calls))]
        for number, body, _ in draw(st.permutations(replies)):
            log.say(server, "server", {"jsonrpc": "2.0", "id": begun + number, **body})
        ids += range(begun, begun + len(calls))
        log.next_id[server] = begun + len(calls)
        made = tuple(Call(name, json.dumps(arguments, ensure_ascii=False)) for name, arguments in calls)
        results = tuple(Result(texts, name) for (name, _), (_, _, texts) in zip(calls, replies, strict=True))
        turns += [Turn("assistant", calls=made), Turn("results", results=results)]
    if not draw(st.integers(0, 3)):  # nobody says what this was for
        log.unclaimed += len(ids)
        return
    answer = draw(st.just("") | TEXT)
    turns = [*turns, Turn("assistant", answer)] if answer else turns[:-1]
    named = {"session": server} if log.style != "bare" else {}
    log.asked.append({**named, "ids": ids, "instruction": question, **({"final_response": answer} if answer else {})})
    log.told.append(Told(tuple(turns), ("",), log.offered[server]))


def _reply(draw: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A reply's body, and what becomes of it."""
    texts = draw(st.lists(TEXT.filter(lambda text: "\\u" not in text), min_size=1, max_size=2))
    said = "\n".join(texts)
    failed = (f"Error: {said}",) if not said.lstrip().lower().startswith("error") else (said, f"Error: {said}")
    parts = [{"type": "text", "text": text} for text in texts]
    kind = draw(st.sampled_from(["text", "error", "rpc error", "structured", "both"]))
    if kind == "text":
        return {"result": {"content": parts}}, (said,)
    if kind == "error":
        return {"result": {"content": parts, "isError": True}}, failed
    if kind == "rpc error":
        return {"error": {"code": -32602, "message": said}}, failed
    value = {"city": texts[0], "n": 1.5}
    if kind == "both":
        return {"result": {"content": parts, "structuredContent": value}}, (said,)
    return {"result": {"content": [], "structuredContent": value}}, (json.dumps(value, ensure_ascii=False),)
