"""BFCL: questions with functions, joined with the file of accepted answers that lies beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes, SourceRecord
from lfwrap.data.formats.openai_chat import add_message
from lfwrap.data.formats.parts.exact_json import ExactDecoder, stream_lines
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation, ToolCall

_FIRST_ROW = re.compile(r'\A\ufeff?\s*\{"id":\s*"[^"]+",\s*"question":\s*\[\s*\[')


def evidence(record: Mapping[str, Any]) -> str | None:
    """Question is a list of lists of messages, function is present."""
    question = record.get("question")
    if isinstance(question, list) and question and isinstance(question[0], list) and "function" in record:
        return "question is a list of lists of messages, function present"
    return None


def sniff(head: str) -> str | None:
    """The same, seen in a file's first line."""
    if _FIRST_ROW.match(head) and '"function"' in head:
        return "the first row has id, question (a list of lists) and function"
    return None


def read(path: Path, options: ConvertOptions) -> Iterator[SourceRecord]:  # noqa: ARG001 - one shape for all formats
    """The rows of a file, each with the accepted answers of its id where an answers file lies beside it.

    A row whose id stands for two questions or has two answers is a `Reject`: which belong together can't be told.
    """
    known = answers_file(path)
    answers = _Answers(known) if known else None
    twice = {row_id for row_id, row in _by_id(path).items() if isinstance(row, Reject)} if answers else set()
    for row, (line, value) in enumerate(_rows(path), 1):
        row_id = value.get("id") if isinstance(value, dict) else None
        if answers is None or not isinstance(value, dict):
            yield SourceRecord(row, line, value)
        elif isinstance(row_id, str | int) and row_id in twice:
            reason = f"the id {row_id!r} stands for two different questions: which one the answer is for can't be told"
            yield SourceRecord(row, line, Reject("structure", reason))
        else:
            yield SourceRecord(row, line, answers.joined(value))


class _Answers:
    """The file of accepted answers, by id."""

    def __init__(self, path: Path) -> None:
        self._by_id = _by_id(path)
        broken = [(line, row) for line, row in _rows(path) if isinstance(row, Reject)]
        self._unread = f"line {broken[0][0]} of {path.name}: {broken[0][1]}" if broken else ""

    def joined(self, row: dict[str, Any]) -> Any:
        """A row with its answers, or the reject that says why its answer can't be used."""
        row_id = row.get("id")
        answer = self._by_id.get(row_id) if isinstance(row_id, str | int) else None
        if isinstance(answer, Reject):
            return Reject(answer.rule, f"its answer: {answer.reason}")
        if answer is not None:
            return {**row, "ground_truth": answer.get("ground_truth")}
        if self._unread and "ground_truth" not in row:
            return Reject("no-answer", f"there is no accepted answer for this case; {self._unread}")
        return row


def _by_id(path: Path) -> dict[str | int, Any]:
    """Id → row; a `Reject` where two rows of one id differ, or where a row can't be used but its id can be told."""
    found: dict[str | int, Any] = {}
    decoder = ExactDecoder()
    with path.open(encoding="utf-8-sig", newline="\n") as source:
        for line, text in enumerate(source, 1):
            try:
                row, _, problem = decoder.decode_at(text.strip())
            except ValueError:
                continue
            row_id = row.get("id") if isinstance(row, dict) else None
            if not isinstance(row_id, str | int):
                continue
            if problem is not None:
                found[row_id] = Reject(problem.rule, f"line {line} of {path.name}: {problem.reason}")
            elif found.setdefault(row_id, row) != row:
                found[row_id] = Reject("structure", f"the id {row_id!r} comes twice in {path.name}, with other content")
    return found


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line and value, or the `Reject` of it, of each line that is not blank."""
    with path.open(encoding="utf-8-sig", newline="\n") as source:
        yield from stream_lines(source)


def answers_file(path: Path) -> Path | None:
    """``X.possible_answer.jsonl`` beside ``X.jsonl``, or, as published, ``possible_answer/X.jsonl``."""
    beside = path.with_name(f"{path.stem}.possible_answer{path.suffix}")
    published = path.parent / "possible_answer" / path.name
    return next((known for known in (beside, published) if known.is_file()), None)


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:  # noqa: ARG001
    """A case as a question and the calls of its first accepted answer.

    Raises:
        Reject: no accepted answer, several question turns, or something that can't be read.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['Area of a triangle, base 10, height 5?', 'geometry.area']
    """
    fields = notes.fields(record, "")
    fields.get("id")  # what its answers are found by
    truth = fields.get("ground_truth")
    if not isinstance(truth, list) or not truth:
        raise Reject("no-answer", "there is no accepted answer for this case")
    question = fields.get("question")
    if not isinstance(question, list) or len(question) != 1 or not isinstance(question[0], list):
        raise Reject("structure", "question is not one list of messages")
    builder = TurnBuilder(notes)
    for number, turn in enumerate(question[0], 1):
        if not isinstance(turn, Mapping) or "role" not in turn:
            raise Reject("structure", f"message {number} has no role")
        add_message(builder, notes.fields(turn, "question[][]"), f"message {number}", notes)
    required = _required(fields.get("function"))
    builder.assistant(calls=[_call(answer, required) for answer in truth])
    return builder.build(parse_tools(fields.get("function"), notes, "function"))


def _required(functions: Any) -> Mapping[str, Sequence[Any]]:
    """Function → the arguments that it requires; its answers may say of one that it can be left out, which it can't."""
    declared = [each for each in functions if isinstance(each, Mapping)] if isinstance(functions, list) else []
    schemas = {str(each.get("name")): each.get("parameters") for each in declared}
    required = {name: schema.get("required") for name, schema in schemas.items() if isinstance(schema, Mapping)}
    return {name: keys for name, keys in required.items() if isinstance(keys, list)}


def _call(answer: Any, required: Mapping[str, Sequence[Any]]) -> ToolCall:
    if not isinstance(answer, Mapping) or len(answer) != 1:
        raise Reject("call", "an accepted answer is not {name: {argument: [values]}}")
    name, accepted = next(iter(answer.items()))
    if not isinstance(accepted, Mapping):
        raise Reject("arguments", f"the accepted arguments of {name!r} are not an object")
    needed = required.get(name, ())
    chosen = {key: first_accepted(_given(values) if key in needed else values) for key, values in accepted.items()}
    return ToolCall(str(name), {key: value for key, value in chosen.items() if value is not _OMITTED})


def _given(values: Any) -> Any:
    return [value for value in values if value != ""] if isinstance(values, list) else values


_OMITTED = object()


def first_accepted(values: Any) -> Any:
    """The first value of a list of accepted ones; an empty text there means that the argument may be left out.

    >>> first_accepted([10, 20])
    10
    >>> first_accepted([{"unit": ["km", "miles"]}])
    {'unit': 'km'}
    """
    if not isinstance(values, list):
        return values
    if not values or values[0] == "":
        return _OMITTED
    return _plain(values[0])


def _plain(value: Any) -> Any:
    """Nested objects list the accepted values of each of their fields."""
    if isinstance(value, Mapping):
        inner = {key: first_accepted(values) for key, values in value.items()}
        return {key: chosen for key, chosen in inner.items() if chosen is not _OMITTED}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


FORMAT = Format(
    name="bfcl",
    description="BFCL cases, joined with the accepted answers in X.possible_answer.jsonl or possible_answer/X",
    example=(
        '{"id":"simple_0","question":[[{"role":"user","content":"Area of a triangle, base 10, height 5?"}]],"function":'
        '[{"name":"geometry.area","description":"d","parameters":{"type":"dict","properties":{"base":{"type":"integer"},'
        '"height":{"type":"integer"}},"required":["base","height"]}}],"ground_truth":[{"geometry.area":{"base":[10],'
        '"height":[5]}}]}'
    ),
    evidence=evidence,
    convert=convert,
    sniff=sniff,
    read=read,
)
