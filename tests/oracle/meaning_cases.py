"""Rows that must not be trained as plain answers, by the kind of what they say, in several layouts each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A small file of one kind.

    Attributes:
        kind: what it says that a careless reader misses.
        layout: in which layout.
        records: its records; or text, which is written as it is.
        name: the file's name.
        good: how many of its rows are plain, and so have to be written.
        encoding: of the file.
        asked: what the user asked, for a log.
    """

    kind: str
    layout: str
    records: Any
    name: str = "rows.jsonl"
    good: int = 0
    encoding: str = "utf-8"
    asked: tuple[dict[str, Any], ...] = ()

    def content(self) -> bytes:
        """The file's bytes."""
        if isinstance(self.records, str):
            return self.records.encode(self.encoding)
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in self.records).encode(self.encoding)

    def __str__(self) -> str:
        """For the name of a test."""
        return f"{self.kind}, {self.layout}"


def _chat(*texts: str, last: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    messages[-1] |= last or {}
    return {"messages": messages, **fields}


def _share(*texts: str, last: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    turns = [{"from": roles[place % 2], "value": text} for place, text in enumerate(texts)]
    turns[-1] |= last or {}
    return {"conversations": turns, **fields}


def _asked(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer, **fields}


_WRONG, _RIGHT = "The moon is made of cheese.", "The moon is made of rock."
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Finds.",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        },
    }
]
_FLAT = [
    {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
]


def _called(arguments: Any, result: str = "found", **fields: Any) -> dict[str, Any]:
    """A chat with one call and its result."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "Find it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
        {"role": "assistant", "content": "There it is."},
    ]
    return {"messages": messages, "tools": _TOOLS, **fields}


LABELS = [
    Case("bad label", "alpaca", [_asked("q1", _WRONG, kto_tag=False), _asked("q2", _RIGHT, kto_tag=True)]),
    Case(
        "bad label",
        "alpaca",
        [{"prompt": "q1", "completion": _WRONG, "label": False}, {"prompt": "q2", "completion": _RIGHT, "label": True}],
    ),
    Case("bad label", "openai", [_chat("q1", _WRONG, label=False), _chat("q2", _RIGHT, label=True)]),
    Case("bad label", "openai", [_called("{}", label=False), _chat("q2", _RIGHT, kto_tag=True)]),
    Case(
        "bad label", "sharegpt", [_share("q0", "a0", "q1", _WRONG, kto_tag=False), _share("q2", _RIGHT, kto_tag=True)]
    ),
    Case(
        "bad label",
        "alpaca",
        "question,answer,label\nq1,The moon is made of cheese.,False\nq2,The moon is made of rock.,True\n",
        "rows.csv",
    ),
]
PREFERENCES = [
    Case("preference", "openai", [_chat("Hi", "Hello there, friend!", "q1", chosen=_RIGHT, rejected=_WRONG)]),
    Case(
        "preference",
        "openai",
        [
            _chat(
                "q1", chosen={"role": "assistant", "content": _RIGHT}, rejected={"role": "assistant", "content": _WRONG}
            )
        ],
    ),
    Case("preference", "openai", [_chat("Hi", "Hello there, friend!", "q1", response=_RIGHT)]),
    Case(
        "preference",
        "sharegpt",
        [
            _share(
                "Hi",
                "Hello there, friend!",
                "q1",
                chosen={"from": "gpt", "value": _RIGHT},
                rejected={"from": "gpt", "value": _WRONG},
            )
        ],
    ),
    Case("preference", "sharegpt", [_share("Hi", "Hello there, friend!", "q1", chosen=_RIGHT, rejected=_WRONG)]),
    Case("preference", "alpaca", [_asked("q1", _RIGHT, rejected=_WRONG)]),
    Case("preference", "alpaca", [{"instruction": "q1", "input": "", "chosen": _RIGHT, "rejected": _WRONG}]),
    Case(
        "preference",
        "openai",
        [{"chosen": _chat("q1", _RIGHT)["messages"], "rejected": _chat("q1", _WRONG)["messages"]}],
    ),
    Case(
        "preference",
        "openai",
        [{"chosen_messages": _chat("q1", _RIGHT)["messages"], "rejected_messages": _chat("q1", _WRONG)["messages"]}],
    ),
]
_MASKED = [{"weight": 0}, {"weight": 0.0}, {"loss_weight": 0.0}, {"loss": False}, {"train": False}]


def _masked(make: Any, mark: dict[str, Any], key: str) -> dict[str, Any]:
    record: dict[str, Any] = make("q1", _WRONG, "Try again.", _RIGHT)
    record[key][1] |= mark
    return record


MASKS = [
    *(Case(f"masked turn, {next(iter(mark))}", "openai", [_masked(_chat, mark, "messages")]) for mark in _MASKED),
    *(
        Case(f"masked turn, {next(iter(mark))}", "sharegpt", [_masked(_share, mark, "conversations")])
        for mark in _MASKED
    ),
    Case("masked last turn", "openai", [_chat("q1", "Well, that depends.", "q2", _WRONG, last={"weight": 0})]),
    Case(
        "masked call",
        "openai",
        [
            {
                **_called("{}"),
                "messages": [{**one, "weight": 0} if "tool_calls" in one else one for one in _called("{}")["messages"]],
            }
        ],
    ),
    Case("turns that are all trained", "openai", [_chat("q1", _RIGHT, last={"weight": 1})], good=1),
    Case("turns that are all trained", "sharegpt", [_share("q1", _RIGHT, last={"train": True})], good=1),
]
MEDIA = [
    Case("media", "openai", [_chat("<image>What is it?", "A heron.", images=["a.png"])]),
    Case("media", "openai", [_chat("What is it?", "A heron.", images=["a.png"])]),
    Case("media", "openai", [_chat("<video>What happens?", "A heron flies.", videos=["a.mp4"])]),
    Case("media", "sharegpt", [_share("<audio>What is heard?", "A heron cries.", audios=["a.wav"])]),
    Case("media", "sharegpt", [_share("<image>\nWhat is it?", "A heron.", image="a.jpg", id="1")]),
    Case("media", "alpaca", [_asked("What is it?", "A heron.", images=["a.png"])]),
    Case(
        "media",
        "openai",
        [
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "a.png"}},
                            {"type": "text", "text": "What?"},
                        ],
                    },
                    {"role": "assistant", "content": "A heron."},
                ]
            }
        ],
    ),
    Case("no media", "openai", [_chat("What is it?", "A heron.", images=[], videos=None)], good=1),
]
CHANNELS = [
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "developer", "content": "Be brief."},
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Rock or cheese? Think hard."},
                    {"role": "assistant", "channel": "final", "content": _RIGHT},
                ]
            }
        ],
    ),
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Rock or cheese? Think hard."},
                ]
            }
        ],
    ),
    Case(
        "harmony channel",
        "openai",
        [
            {
                "messages": [
                    {"role": "user", "content": "q1"},
                    {"role": "assistant", "channel": "analysis", "content": "Look it up first."},
                    {"role": "assistant", "channel": "commentary", "content": "I will look it up."},
                    {"role": "assistant", "channel": "final", "content": _RIGHT},
                ]
            }
        ],
    ),
]
_ROWS = [_asked(f"q{number}", f"a{number}") for number in range(5)]
LISTS = [
    Case("second list", "alpaca", json.dumps({"train": _ROWS[:3], "validation": _ROWS[3:]}), "rows.json"),
    Case("second list", "alpaca", json.dumps({"train": _ROWS[:3], "test": _ROWS[3:]}, indent=1), "rows.json"),
    Case(
        "second list",
        "openai",
        json.dumps({"train": [_chat("q1", "a1")], "valid": [_chat("q2", "a2")], "test": [_chat("q3", "a3")]}),
        "rows.json",
    ),
]
_LOOKALIKES = [
    {
        "version": 1,
        "type": "doc",
        "content": [{"type": "paragraph", "content": [{"type": "text", "text": "Down since Monday."}]}],
    },
    {"id": "m9", "author": "Ann", "content": [{"type": "text", "text": "See you at nine."}]},
    {"structuredContent": {"a": 1}, "status": "failed", "error": "disk full"},
    {"content": [{"type": "text", "text": "x"}], "next_page": 3},
    {"content": "plain", "isError": False, "retries": 2},
]


def _anthropic(result: str) -> dict[str, Any]:
    return {
        "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object", "properties": {}}}],
        "messages": [
            {"role": "user", "content": "Find it."},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "find", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": result}]},
            {"role": "assistant", "content": "There it is."},
        ],
    }


def _observed(result: str) -> dict[str, Any]:
    turns = [
        ("human", "Find it."),
        ("function_call", '{"name": "find", "arguments": {}}'),
        ("observation", result),
        ("gpt", "There it is."),
    ]
    return {"conversations": [{"from": who, "value": text} for who, text in turns], "tools": json.dumps(_FLAT)}


RESULTS = [
    *(
        Case("JSON result that is not MCP's", "openai", [_called("{}", json.dumps(value))], good=1)
        for value in _LOOKALIKES
    ),
    *(
        Case("JSON result that is not MCP's", "anthropic", [_anthropic(json.dumps(value))], good=1)
        for value in _LOOKALIKES
    ),
    *(
        Case("JSON result that is not MCP's", "sharegpt", [_observed(json.dumps(value))], good=1)
        for value in _LOOKALIKES
    ),
]
_BROKEN = ['{"q": 1e400}', '{"q": NaN}', '{"q": -Infinity}', '{"q": 1, "q": 2}', '{"q": {"a": 1, "a": 2}}']


def _raw(record: dict[str, Any], value: str) -> str:
    """A record with a value that no JSON writer would write, in place of a mark."""
    return json.dumps(record).replace('"@@"', value) + "\n"


VALUES = [
    *(Case("value that JSON has not, or a key twice", "openai", [_called(value)]) for value in _BROKEN),
    *(Case("value that JSON has not, or a key twice", "openai", _raw(_called("@@"), value)) for value in _BROKEN),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "sharegpt",
            [
                {
                    **_observed("x"),
                    "conversations": [
                        {"from": "human", "value": "q"},
                        {"from": "function_call", "value": f'{{"name": "find", "arguments": {value}}}'},
                    ],
                }
            ],
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "xlam",
            [{"query": "q", "answers": f'[{{"name": "find", "arguments": {value}}}]', "tools": json.dumps(_FLAT)}],
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "anthropic",
            _raw(
                {
                    **_anthropic("x"),
                    "messages": [
                        {"role": "user", "content": "q"},
                        {
                            "role": "assistant",
                            "content": [{"type": "tool_use", "id": "c", "name": "find", "input": "@@"}],
                        },
                    ],
                },
                value,
            ),
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "mcpflow-trajectories",
            _raw(
                {
                    "messages": [
                        {"role": "user", "content": "q"},
                        {
                            "role": "assistant",
                            "content": "",
                            "tool_calls": {"type": "function", "function": {"name": "find", "arguments": "@@"}},
                        },
                    ],
                    "tools": _TOOLS,
                },
                value,
            ),
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "toucan",
            [
                {
                    "uuid": "u",
                    "available_tools": json.dumps(_TOOLS),
                    "messages": json.dumps(
                        [
                            {"role": "user", "content": "q"},
                            {"role": "assistant", "content": "", "function_call": {"name": "find", "arguments": value}},
                        ]
                    ),
                }
            ],
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "mcpflow-simple",
            _raw(
                {
                    "instruction": "q",
                    "tool_info": {
                        "tool_name": "find",
                        "tool_description": "Finds.",
                        "input_schema": {"type": "object", "properties": {}},
                    },
                    "function_call": {"name": "find", "arguments": "@@"},
                },
                value,
            ),
        )
        for value in _BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "bfcl",
            _raw(
                {
                    "id": "a_1",
                    "question": [[{"role": "user", "content": "q"}]],
                    "function": _FLAT,
                    "ground_truth": [{"find": {"q": ["@@"]}}],
                },
                value,
            ),
        )
        for value in _BROKEN
    ),
    Case(
        "value that JSON has not, or a key twice",
        "toolace",
        [
            {
                "system": f"Functions: {json.dumps(_FLAT)}",
                "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "[find(q=1e400)]"}],
            }
        ],
    ),
    Case(
        "value that JSON has not, or a key twice",
        "glaive",
        [
            {
                "system": f"SYSTEM: -\n{json.dumps(_FLAT[0])}",
                "chat": 'USER: q\n\n\nASSISTANT: <functioncall> {"name": "find", "arguments": \'{"q": 1e400}\'}',
            }
        ],
    ),
    Case(
        "value that JSON has not, or a key twice",
        "alpaca",
        '{"instruction": "q", "input": "", "output": "one", "output": "two"}\n',
    ),
]
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
    Case("encoding shift_jis", "openai", [_chat(*_TEXTS["japanese"].split("\n")[0].split(","))], encoding="shift_jis"),
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
        for value in _BROKEN
    ),
]
CASES = [*LABELS, *PREFERENCES, *MASKS, *MEDIA, *CHANNELS, *LISTS, *RESULTS, *VALUES, *LOGS, *ENCODINGS]
