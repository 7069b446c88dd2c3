"""One row of a question file as a question: text, the usual columns, or a conversation in any layout we read.

Conversations with calls in other layouts (OpenAI's ``tool_calls``, Anthropic's blocks, …) go through the readers of
`lfwrap.data.formats`, so that the model sees what training would have shown it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.data.convert import writer
from lfwrap.data.convert.writer_tools import tools_text
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.parts.schemas import parse_tool
from lfwrap.data.schema.conversation import Tool
from lfwrap.engine.chat_templates import chat_template
from lfwrap.engine.contract import Conversation

Message = dict[str, str]

_ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "model": "assistant",
    "system": "system", "function": "function", "function_call": "function", "tool": "observation",
    "observation": "observation",
}  # fmt: skip
_ASKING = frozenset({"user", "observation"})
_QUESTION_KEYS = ("instruction", "question", "prompt", "query", "问题", "指令")
_ANSWER_KEYS = ("output", "answer", "response", "reply", "answers", "回答", "答案")
_CALL_KEYS = ("function_call", "function_calls", "tool_call", "tool_calls", "answers")
_TURN_KEYS = ("messages", "conversations")


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a model, with the turns before it and its tools.

    Attributes:
        id: given back with the answer: the number of the question in its file, from 0.
        messages: the conversation (``role`` and ``content``), the user's message last.
        system: the system prompt; None for the template's own.
        tools: tool definitions as a JSON array in text; None without tools.
        reference: the answer that was expected, where it is known; calls as JSON text.
        must_contain: texts that a right answer has in it.
    """

    id: int
    messages: tuple[Message, ...]
    system: str | None = None
    tools: str | None = None
    reference: str | None = None
    must_contain: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The last message, which is to be answered."""
        return self.messages[-1]["content"]

    def to_request(self) -> Conversation:
        """The question as the worker takes it."""
        return {"id": self.id, "messages": list(self.messages), "system": self.system, "tools": self.tools}


@dataclass(frozen=True, slots=True)
class AskOptions:
    """Options for all questions of a file.

    Attributes:
        system: the system prompt of questions that have none.
        tools: tool definitions as JSON text, for questions that have none.
        template: the engine's template, in whose way calls and tools are written; empty for what most templates share.
    """

    system: str | None = None
    tools: str | None = None
    template: str = ""


def ask(text: str, *, number: int = 0, system: str | None = None, tools: str | None = None) -> Question:
    """A question without earlier turns.

    >>> ask("Who wrote it?", system="Be brief.").messages
    ({'role': 'user', 'content': 'Who wrote it?'},)
    """
    return Question(number, ({"role": "user", "content": text},), system, tools)


def read_question(number: int, row: Any, options: AskOptions) -> Question:
    r"""A row as a question: a text, a row of questions, or a row of a format that data can be prepared from.

    >>> read_question(3, {"instruction": "Sum up:", "input": "Long text."}, AskOptions()).text
    'Sum up:\nLong text.'

    Raises:
        Reject: it asks nothing that can be understood; the reason says why.
    """
    if isinstance(row, str):
        if not row.strip():
            raise Reject("empty", "an empty text")
        return ask(row, number=number, system=options.system, tools=options.tools)
    if not isinstance(row, Mapping):
        raise Reject("structure", "neither text nor an object")
    question = _from_fields(number, row) or _from_turns(number, row) or _from_format(number, row, options)
    return replace(
        question,
        system=question.system or options.system,
        tools=question.tools or _tools(row, options) or options.tools,
        must_contain=_keywords(row),
    )


def question_of_messages(
    number: int, messages: Sequence[Mapping[str, str]], system: str | None, tools: str | None
) -> Question | None:
    """A conversation in the engine's roles as a question; a last answer becomes the reference. None: nobody asks."""
    turns = [dict(turn) for turn in messages]
    reference = turns.pop()["content"] if turns and turns[-1]["role"] not in _ASKING else None
    if not turns or turns[-1]["role"] not in _ASKING:
        return None
    return Question(number, tuple(turns), system or None, tools or None, reference)


def _from_fields(number: int, row: Mapping[str, Any]) -> Question | None:
    """A row of plain columns, Alpaca's among them."""
    text = _first_text(row, _QUESTION_KEYS)
    if text is None or any(row.get(key) for key in (*_TURN_KEYS, "history")):
        return None
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        text = f"{text}\n{more}"  # as the engine joins them
    messages = ({"role": "user", "content": text},)
    return Question(number, messages, _text(row.get("system")), reference=_reference(row))


def _from_turns(number: int, row: Mapping[str, Any]) -> Question | None:
    """A conversation whose turns are all plain text."""
    turns = next((row[key] for key in _TURN_KEYS if isinstance(row.get(key), list)), None)
    if turns is None or any(isinstance(turn, Mapping) and turn.get("tool_calls") for turn in turns):
        return None
    messages: list[Message] = []
    for turn in turns:
        message = _plain_turn(turn)
        if message is None:
            return None
        messages.append(message)
    system = _text(row.get("system"))
    if messages and messages[0]["role"] == "system":
        system = messages.pop(0)["content"]
    return question_of_messages(number, messages, system, None)


def _plain_turn(turn: Any) -> Message | None:
    if not isinstance(turn, Mapping):
        return None
    role = _ROLES.get(str(turn.get("role") or turn.get("from")))
    content = turn.get("content", turn.get("value"))
    return {"role": role, "content": content} if role and isinstance(content, str) else None


def _from_format(number: int, row: Mapping[str, Any], options: AskOptions) -> Question:
    """A whole training row in one of the layouts that prepare-data reads."""
    known = (found for found in FORMATS.values() if found.read is None)
    found = next((each for each in known if each.evidence(row)), None)
    if found is None:
        raise Reject("structure", "no question in it")
    converted = writer.engine_row(found.convert(row, ConvertOptions(), RowNotes()), options.template)
    messages = [{"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in converted["conversations"]]
    question = question_of_messages(number, messages, converted["system"], converted["tools"])
    if question is None:
        raise Reject("structure", "nobody asks anything in it")
    return question


def _tools(row: Mapping[str, Any], options: AskOptions) -> str | None:
    """The row's tools as the template writes them; text is taken unchanged."""
    tools = row.get("tools")
    if isinstance(tools, str):
        return tools if tools.strip() else None
    if not tools:
        return None
    if not isinstance(tools, list):
        raise Reject("tools", "its tools are not a list")
    return write_tools([parse_tool(tool, RowNotes()) for tool in tools], options.template)


def write_tools(tools: Sequence[Tool], template: str) -> str:
    """Tool definitions as the JSON text that the engine takes. Raises DataError for an unknown template."""
    return tools_text(tools, chat_template(template).family)


def _reference(row: Mapping[str, Any]) -> str | None:
    text = _first_text(row, _ANSWER_KEYS)
    if text is not None:
        return text
    calls = next((row[key] for key in _CALL_KEYS if isinstance(row.get(key), Mapping | list) and row[key]), None)
    return json.dumps(calls, ensure_ascii=False) if calls is not None else None


def _keywords(row: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = row.get("must_contain")
    if wanted is None:
        return ()
    words = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise Reject("must-contain", "must_contain is neither a text nor a list of texts")
    return tuple(words)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _first_text(row: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((text for key in keys if (text := _text(row.get(key)))), None)
