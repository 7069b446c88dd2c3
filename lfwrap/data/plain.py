"""The output line of a plain row, written from its texts or cut and joined from its input line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

BEFORE_QUESTION = b'{"conversations":[{"from":"human","value":"'
BEFORE_ANSWER = b'"},{"from":"gpt","value":"'
AFTER_ANSWER = b'"}],"system":"","tools":""}'
QUOTES_IN_OUTPUT = (BEFORE_QUESTION + BEFORE_ANSWER + AFTER_ANSWER).count(b'"')
_NO_SUCH_KEY = "\x00"


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a plain table; ``input`` is empty where there is none."""

    instruction: str
    input: str
    output: str

    @property
    def names(self) -> list[str]:
        """The columns there are, in Alpaca's order."""
        return [name for name in (self.instruction, self.input, self.output) if name]

    @property
    def quotes(self) -> int:
        """Quotation marks that a JSON object of these columns has around its keys and texts."""
        return 4 * len(self.names)

    @property
    def keys(self) -> tuple[str, str, str]:
        """Keys to look up; that of a missing input is in no record."""
        return self.instruction, self.input or _NO_SUCH_KEY, self.output


def plain_line(question: str, more: str, answer: str) -> bytes:
    """The output line: question and what belongs to it, joined by a line break, then the answer."""
    turns = [{"from": "human", "value": f"{question}\n{more}" if more else question}, {"from": "gpt", "value": answer}]
    return orjson.dumps({"conversations": turns, "system": "", "tools": ""})


def plain_texts(record: Any, shape: Shape) -> tuple[str, str, str] | None:
    """Question, input and answer of a record that has them as texts, the first and the last not blank, and no more."""
    if type(record) is not dict or len(record) != len(shape.names):
        return None
    ask, more, tell = shape.keys
    question, extra, answer = record.get(ask), record.get(more, ""), record.get(tell)
    if type(question) is not str or type(extra) is not str or type(answer) is not str:
        return None
    if not question or not answer or question.isspace() or answer.isspace() or (extra and extra.isspace()):
        return None
    return question, extra, answer


@dataclass(frozen=True, slots=True)
class Spacing:
    """What stands between the values of an object that is written in one way.

    In valid JSON ``", "input": "`` can only be the end of a value and the next key: its second quotation mark has no
    backslash before it, so it begins or ends a text, and `input` would stand bare if it ended one. So an input line can
    be cut there, and its texts put into the output as they are spelled.

    Attributes:
        head: up to the first text.
        before_input: between the first text and the input; the same object as ``before_output`` if there is none.
        before_output: before the last text.
    """

    head: bytes
    before_input: bytes
    before_output: bytes


def spacing_of(raw: bytes, shape: Shape) -> Spacing:
    """The spacing of a block, going by its first line; Python's own way for an unusual one."""
    ways = [_spacing(shape, comma, colon) for comma in (b", ", b",") for colon in (b": ", b":")]
    return next((way for way in ways if raw.startswith(way.head) and way.before_output in raw), ways[0])


def _spacing(shape: Shape, comma: bytes, colon: bytes) -> Spacing:
    names = [orjson.dumps(name) for name in shape.names]
    before_output = b'"' + comma + names[-1] + colon + b'"'
    before_input = b'"' + comma + names[1] + colon + b'"' if shape.input else before_output
    return Spacing(b"{" + names[0] + colon + b'"', before_input, before_output)
