"""Questions to answer: from a text file, one a line, or from rows of JSON in the usual layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import DataError, Finding

Message = dict[str, str]

_ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "system": "system", "function": "function", "function_call": "function", "tool": "observation",
    "observation": "observation",
}  # fmt: skip
_QUESTION_KEYS = ("instruction", "question", "prompt", "query", "问题", "指令")
_ANSWER_KEYS = ("output", "answer", "response", "reply", "回答", "答案")
_SHAPES = 'Give text, {"question": …}, {"instruction": …, "input": …} or {"messages": [{"role", "content"}…]}.'


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to answer.

    Attributes:
        id: given back with the answer: the number of the question in its file, from 0.
        messages: the conversation (``role`` and ``content``), the user's message last.
        system: the system prompt; None for the template's own.
        tools: tool definitions as a JSON array in text; None without tools.
        reference: the answer that was expected, where it is known.
    """

    id: int
    messages: tuple[Message, ...]
    system: str | None = None
    tools: str | None = None
    reference: str | None = None

    @property
    def text(self) -> str:
        """The last message, which is to be answered."""
        return self.messages[-1]["content"]

    def to_request(self) -> dict[str, Any]:
        """The question as the worker takes it."""
        return {"id": self.id, "messages": list(self.messages), "system": self.system, "tools": self.tools}


def ask(text: str, *, number: int = 0, system: str | None = None) -> Question:
    """A question without history."""
    return Question(number, ({"role": "user", "content": text},), system)


def load_questions(path: Path, system: str | None = None) -> list[Question]:
    """The questions of a file: ``.jsonl`` and ``.json`` hold rows, anything else one question a line.

    A row's own system prompt goes before ``system``. Its last answer, if it has one, is kept as the reference.

    Raises:
        DataError: no such file, no question in it, or rows that ask nothing: all of them, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: can't be read: {reason}", hint="Name a text or JSONL file in UTF-8.") from error
    suffix = path.suffix.lower()
    rows: list[tuple[int, Any]] = []
    findings: list[Finding] = []
    for line, content in _contents(text, suffix):
        try:
            rows.extend(_decode(line, content, suffix))
        except orjson.JSONDecodeError as error:
            findings.append(_finding(path, line, f"no valid JSON: {error}."))
    questions = []
    for number, (line, row) in enumerate(rows):
        question = _question(number, row, system)
        if question is None:
            findings.append(_finding(path, line, "asks nothing."))
        else:
            questions.append(question)
    if findings:
        raise DataError(f"{path}: {len(findings)} unusable rows", findings=findings)
    if not questions:
        raise DataError(f"{path}: no questions", hint="One question a line, or one JSON row a line.")
    return questions


def _contents(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    if suffix == ".json":
        yield 1, text
        return
    # Only \n parts rows: JSON text may hold other line separators.
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, content.strip()


def _decode(line: int, content: str, suffix: str) -> list[tuple[int, Any]]:
    if suffix not in {".json", ".jsonl"}:
        return [(line, content)]
    value = orjson.loads(content)
    if suffix == ".json" and isinstance(value, list):
        return [(line, row) for row in value]
    return [(line, value)]


def _finding(path: Path, line: int, message: str) -> Finding:
    return Finding("unusable-question", message, file=str(path), line=line, hint=_SHAPES)


def _question(number: int, row: Any, system: str | None) -> Question | None:
    if isinstance(row, str):
        return ask(row, number=number, system=system) if row.strip() else None
    if not isinstance(row, Mapping):
        return None
    turns = row.get("messages") or row.get("conversations")
    if isinstance(turns, Sequence) and not isinstance(turns, str):
        return _from_turns(number, turns, row, system)
    text = _first_text(row, _QUESTION_KEYS)
    if text is None:
        return None
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        text = f"{text}\n{more}"  # as the engine joins them
    messages = ({"role": "user", "content": text},)
    return Question(number, messages, _text(row.get("system")) or system, _tools(row), _first_text(row, _ANSWER_KEYS))


def _from_turns(number: int, turns: Sequence[Any], row: Mapping[str, Any], system: str | None) -> Question | None:
    messages: list[Message] = []
    for turn in turns:
        if not isinstance(turn, Mapping):
            return None
        role = _ROLES.get(str(turn.get("role") or turn.get("from")))
        content = turn.get("content", turn.get("value"))
        if role is None or not isinstance(content, str):
            return None
        messages.append({"role": role, "content": content})
    own_system = _text(row.get("system"))
    if messages and messages[0]["role"] == "system":
        own_system = messages.pop(0)["content"]
    reference = None
    if messages and messages[-1]["role"] in {"assistant", "function"}:
        reference = messages.pop()["content"]
    if not messages or messages[-1]["role"] not in {"user", "observation"}:
        return None
    return Question(number, tuple(messages), own_system or system, _tools(row), reference)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _first_text(row: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((text for key in keys if (text := _text(row.get(key)))), None)


def _tools(row: Mapping[str, Any]) -> str | None:
    tools = row.get("tools")
    if isinstance(tools, str):
        return tools if tools.strip() else None
    return orjson.dumps(tools).decode() if tools else None
