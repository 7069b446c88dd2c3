"""What a case of meaning is, and records to make one of."""

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


def chat(*texts: str, last: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
    messages[-1] |= last or {}
    return {"messages": messages, **fields}


def share(*texts: str, last: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    turns = [{"from": roles[place % 2], "value": text} for place, text in enumerate(texts)]
    turns[-1] |= last or {}
    return {"conversations": turns, **fields}


def asked_row(question: str, answer: str, **fields: Any) -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer, **fields}


WRONG, RIGHT = "The moon is made of cheese.", "The moon is made of rock."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Finds.",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        },
    }
]
FLAT = [
    {"name": "find", "description": "Finds.", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
]


def called(arguments: Any, result: str = "found", **fields: Any) -> dict[str, Any]:
    """A chat with one call and its result."""
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "Find it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": result},
        {"role": "assistant", "content": "There it is."},
    ]
    return {"messages": messages, "tools": TOOLS, **fields}


BROKEN = ['{"q": 1e400}', '{"q": NaN}', '{"q": -Infinity}', '{"q": 1, "q": 2}', '{"q": {"a": 1, "a": 2}}']
