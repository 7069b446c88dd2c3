"""Results that look like MCP's, and values that JSON has not, in several layouts each."""

from __future__ import annotations

import json
from typing import Any

from meaning_case import BROKEN, FLAT, TOOLS, Case, called

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
    return {"conversations": [{"from": who, "value": text} for who, text in turns], "tools": json.dumps(FLAT)}


RESULTS = [
    *(
        Case("JSON result that is not MCP's", "openai", [called("{}", json.dumps(value))], good=1)
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


def _raw(record: dict[str, Any], value: str) -> str:
    """A record with a value that no JSON writer would write, in place of a mark."""
    return json.dumps(record).replace('"@@"', value) + "\n"


VALUES = [
    *(Case("value that JSON has not, or a key twice", "openai", [called(value)]) for value in BROKEN),
    *(Case("value that JSON has not, or a key twice", "openai", _raw(called("@@"), value)) for value in BROKEN),
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
        for value in BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "xlam",
            [{"query": "q", "answers": f'[{{"name": "find", "arguments": {value}}}]', "tools": json.dumps(FLAT)}],
        )
        for value in BROKEN
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
        for value in BROKEN
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
                    "tools": TOOLS,
                },
                value,
            ),
        )
        for value in BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "toucan",
            [
                {
                    "uuid": "u",
                    "available_tools": json.dumps(TOOLS),
                    "messages": json.dumps(
                        [
                            {"role": "user", "content": "q"},
                            {"role": "assistant", "content": "", "function_call": {"name": "find", "arguments": value}},
                        ]
                    ),
                }
            ],
        )
        for value in BROKEN
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
        for value in BROKEN
    ),
    *(
        Case(
            "value that JSON has not, or a key twice",
            "bfcl",
            _raw(
                {
                    "id": "a_1",
                    "question": [[{"role": "user", "content": "q"}]],
                    "function": FLAT,
                    "ground_truth": [{"find": {"q": ["@@"]}}],
                },
                value,
            ),
        )
        for value in BROKEN
    ),
    Case(
        "value that JSON has not, or a key twice",
        "toolace",
        [
            {
                "system": f"Functions: {json.dumps(FLAT)}",
                "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "[find(q=1e400)]"}],
            }
        ],
    ),
    Case(
        "value that JSON has not, or a key twice",
        "glaive",
        [
            {
                "system": f"SYSTEM: -\n{json.dumps(FLAT[0])}",
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
