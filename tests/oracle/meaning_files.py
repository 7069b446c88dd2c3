"""Files in several encodings, and logs of MCP clients."""

from __future__ import annotations

import json
from typing import Any

from meaning_case import BROKEN, Case, chat

_TEXTS = {
    "latin": "Was heißt „naïve“?,Arglos – ein wenig töricht.\nCombien coûte le café?,Deux euros à Besançon.\n",
    "japanese": "空はなぜ青いのですか。,大気が青い光を散らすからです。\n犬は何を食べますか。,肉と野菜のスープです。\n",
    "russian": "Почему небо голубое?,Воздух рассеивает синий свет.\nЧто едят ежи?,Насекомых и ягоды.\n",
    "korean": "하늘은 왜 파란가요?,대기가 푸른 빛을 흩뜨립니다.\n개는 무엇을 먹나요?,고기와 채소를 먹습니다.\n",
    "chinese": "天空為什麼是藍色的?,因為大氣散射藍光。\n刺蝟吃什麼?,刺蝟吃昆蟲和漿果。\n",
    "plain": "Où est l'été?,Là, près du café.\n",
}
_ENCODED = {
    "latin": ("cp1252", "utf-16-le", "utf-16-be"),
    "japanese": ("shift_jis", "euc-jp", "iso2022_jp", "cp932"),
    "russian": ("cp1251", "koi8-r", "iso8859-5"),
    "korean": ("euc-kr", "cp949"),
    "chinese": ("big5", "gb18030"),
    "plain": ("latin-1", "cp1252"),
}


def _table(text: str, encoding: str) -> Case:
    return Case(f"encoding {encoding}", "alpaca", f"instruction,output\n{_TEXTS[text]}", "rows.csv", encoding=encoding)


ENCODINGS = [
    *(_table(text, encoding) for text, encodings in _ENCODED.items() for encoding in encodings),
    Case("encoding shift_jis", "openai", [chat(*_TEXTS["japanese"].split("\n")[0].split(","))], encoding="shift_jis"),
]


def _log(*messages: tuple[str, str, dict[str, Any]], order: str = "[{server}] [info]") -> str:
    """A log of (server, sender, message)."""
    tags = [order.format(server=server) for server, _, _ in messages]
    return "".join(
        f"2026-01-02T10:00:{number:02d}.000Z {tag} Message from {sender}: {json.dumps({'jsonrpc': '2.0', **body})}\n"
        for number, (tag, (_, sender, body)) in enumerate(zip(tags, messages, strict=True))
    )


def _listing(server: str) -> list[tuple[str, str, dict[str, Any]]]:
    tools = [{"name": f"{server}_find", "description": "Finds.", "inputSchema": {"type": "object", "properties": {}}}]
    asked = {"id": 1, "method": "tools/list", "params": {}}
    return [(server, "client", asked), (server, "server", {"id": 1, "result": {"tools": tools}})]


def _request(server: str, number: int, text: str = "x") -> tuple[str, str, dict[str, Any]]:
    params = {"name": f"{server}_find", "arguments": {"text": text}}
    return server, "client", {"id": number, "method": "tools/call", "params": params}


def _reply(server: str, number: int, text: str) -> tuple[str, str, dict[str, Any]]:
    return server, "server", {"id": number, "result": {"content": [{"type": "text", "text": text}]}}


_TWO = [*_listing("alpha"), *_listing("beta"), _request("alpha", 2), _request("beta", 2)]
_ASKED = ({"instruction": "What does alpha say?", "final_response": "A."}, {"instruction": "And beta?"})
_CUT = "The beginning...[8499 chars truncated]...the end"
LOGS = [
    *(
        Case(
            "log of two servers",
            "mcp-log",
            _log(*_TWO, _reply("beta", 2, "B"), _reply("alpha", 2, "A"), order=order),
            "mcp.log",
            2,
            asked=_ASKED,
        )
        for order in ("[{server}] [info]", "[info] [{server}]")
    ),
    *(
        Case(
            "log that its client cut",
            "mcp-log",
            _log(*_listing("alpha"), _request("alpha", 2, asked), _reply("alpha", 2, told)),
            "mcp.log",
            asked=({"id": 2, "instruction": "Find."},),
        )
        for asked, told in ((_CUT, "A"), ("x", _CUT), ("x", "A… [12 characters truncated]"))
    ),
    Case(
        "log that begins in the middle",
        "mcp-log",
        _log(_reply("alpha", 2, "of before"), *_listing("alpha"), _request("alpha", 2), _reply("alpha", 2, "A")),
        "mcp.log",
        1,
        asked=({"id": 2, "instruction": "Find."},),
    ),
    Case(
        "log whose server asks, too",
        "mcp-log",
        _log(
            *_listing("alpha"),
            _request("alpha", 2),
            ("alpha", "server", {"id": 2, "method": "ping"}),
            ("alpha", "client", {"id": 2, "result": {}}),
            _reply("alpha", 2, "A"),
        ),
        "mcp.log",
        1,
        asked=({"id": 2, "instruction": "Find."},),
    ),
    Case(
        "log without the reply",
        "mcp-log",
        _log(*_listing("alpha"), _request("alpha", 2)),
        "mcp.log",
        asked=({"id": 2, "instruction": "Find.", "final_response": "Found."},),
    ),
    Case(
        "log that begins with an error",
        "mcp-log",
        "npm warn deprecated\n" + _log(*_listing("alpha"), _request("alpha", 2), _reply("alpha", 2, "A")),
        "mcp.log",
        1,
        asked=({"id": 2, "instruction": "Find."},),
    ),
    *(
        Case(
            "log with a value that JSON has not",
            "mcp-log",
            _log(*_listing("alpha"), _request("alpha", 2, "@@"), _reply("alpha", 2, "A")).replace(
                '{"text": "@@"}', value
            ),
            "mcp.log",
            asked=({"id": 2, "instruction": "Find."},),
        )
        for value in BROKEN
    ),
]
