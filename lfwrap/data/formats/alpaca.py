"""Alpaca: instruction, input, output, and optionally system and history; also what CSV and other tables become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.texts import scalar_text
from lfwrap.data.schema.columns import resolve_columns
from lfwrap.data.schema.conversation import Conversation, Message, Role
from lfwrap.data.schema.fields import is_missing
from lfwrap.errors import DataError, LfwrapError

_TURNS_OF_A_PAIR = 2


def evidence(record: Mapping[str, Any]) -> str | None:
    """Which columns are the question and the answer; None when either is missing.

    >>> evidence({"question": "…", "answer": "…"})
    'question → instruction, answer → output'
    >>> evidence({"text": "…"}) is None
    True
    """
    try:
        columns = resolve_columns(tuple(record), {})
    except DataError as ambiguous:
        return str(ambiguous)
    if "output" not in columns or not columns.keys() & {"instruction", "input"}:
        return None
    return describe_columns(columns)


def describe_columns(columns: Mapping[str, str]) -> str:
    """``instruction, output present`` or ``ask → instruction, answer → output``.

    >>> describe_columns({"instruction": "ask", "output": "output"})
    'ask → instruction, output'
    """
    if all(field == column for field, column in columns.items()):
        return f"{', '.join(columns)} present"
    return ", ".join(field if field == column else f"{column} → {field}" for field, column in columns.items())


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    r"""A row as a conversation: history, then instruction and input joined by a line break, then output.

    Raises:
        Reject: nothing asked, nothing answered, or a field that is not text.

    >>> record = {"question": "Add them.", "input": "2, 3", "answer": "5"}
    >>> convert(record, ConvertOptions(), RowNotes()).messages[0].text
    'Add them.\n2, 3'
    """
    try:
        columns = resolve_columns(tuple(record), options.columns)
    except LfwrapError as error:
        raise Reject("columns", f"{error.message}. {error.hint}") from error
    if len(columns) < len(record):
        used = columns.values()
        notes.unused |= {name: value for name, value in record.items() if name not in used}
    texts = {field: _text(record[column], column, notes) for field, column in columns.items() if field != "history"}
    question = "\n".join(texts[field] for field in ("instruction", "input") if texts.get(field))
    if not question.strip():
        raise Reject("empty-instruction", "instruction and input are empty: there is nothing to learn from the answer")
    answer = texts.get("output", "")
    if not answer.strip():
        reason = "output is empty" if "output" in columns else "there is no output column"
        raise Reject("empty-output", f"{reason}: there is no answer to learn")
    history = _history(record[columns["history"]], notes) if "history" in columns else ()
    messages = (*history, Message(Role.USER, question), Message(Role.ASSISTANT, answer))
    return Conversation(messages, system=texts.get("system", ""))


def _text(value: Any, column: str, notes: RowNotes) -> str:
    text = scalar_text(value, column, notes)
    if text is not None:
        return text
    kind = "an object" if isinstance(value, Mapping) else "a list"
    raise Reject("not-text", f"{column} is {kind}, expected text")


def _history(value: Any, notes: RowNotes) -> tuple[Message, ...]:
    if isinstance(value, str):
        value = _parse_history(value, notes)
    if is_missing(value):
        return ()
    if not isinstance(value, list):
        raise Reject("bad-history", "history is not a list of [question, answer] pairs")
    messages: list[Message] = []
    for number, pair in enumerate(value, 1):
        if not isinstance(pair, list) or len(pair) != _TURNS_OF_A_PAIR:
            raise Reject("bad-history", f"history entry {number} is not a [question, answer] pair")
        question, answer = (_text(part, f"history entry {number}", notes) for part in pair)
        if not question.strip() or not answer.strip():
            raise Reject("bad-history", f"history entry {number} has an empty question or answer")
        messages += [Message(Role.USER, question), Message(Role.ASSISTANT, answer)]
    return tuple(messages)


def _parse_history(text: str, notes: RowNotes) -> Any:
    if not text.strip():
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Reject("bad-history", "history is text that is not a JSON list of [question, answer] pairs") from error
    notes.repair("history-text-to-list")
    return value


FORMAT = Format(
    name="alpaca",
    description="instruction, input, output (and system, history), under these names or their usual aliases",
    example='{"instruction":"用一句话介绍猫。","input":"","output":"猫是安静而好奇的小型食肉动物。"}',
    evidence=evidence,
    convert=convert,
)
