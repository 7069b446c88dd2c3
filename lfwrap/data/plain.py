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


class Splice:
    """One way of spacing an object: what stands between its values, and how to cut there.

    In valid JSON ``", "input": "`` can only be the end of a value and the next key: its second quotation mark has no
    backslash before it, so it begins or ends a text, and `input` would stand bare if it ended one.
    """

    def __init__(self, shape: Shape, comma: bytes, colon: bytes) -> None:
        names = [orjson.dumps(name) for name in shape.names]
        self.head = b"{" + names[0] + colon + b'"'
        self.before_input = b'"' + comma + names[1] + colon + b'"' if shape.input else b""
        self.before_output = b'"' + comma + names[-1] + colon + b'"'

    def line(self, raw: bytes) -> bytes | None:
        r"""The output line, or None when the input line is not spaced or ordered like this.

        Only right for a line that `plain_texts` accepts, without ``\u`` and ``\/``: the output spells those otherwise.
        """
        if not raw.startswith(self.head) or not raw.endswith(b'"}'):
            return None
        start = len(self.head)
        middle = raw.find(self.before_output, start)
        if middle < 0:
            return None
        question = raw[start:middle]
        if self.before_input:
            asked, found, more = question.partition(self.before_input)
            if not found:
                return None
            question = b"%b\\n%b" % (asked, more) if more else asked
        answer = raw[middle + len(self.before_output) : -2]
        return b"%b%b%b%b%b" % (BEFORE_QUESTION, question, BEFORE_ANSWER, answer, AFTER_ANSWER)


def splice_for(raw: bytes, shape: Shape) -> Splice | None:
    """The spacing that an input line has, or None for an unusual one."""
    ways = [Splice(shape, comma, colon) for comma in (b", ", b",") for colon in (b": ", b":")]
    return next((way for way in ways if way.line(raw) is not None), None)
