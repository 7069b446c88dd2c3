"""Plain rows: instruction, input and output, all of them text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

_NO_SUCH_KEY = "\x00"


@dataclass(frozen=True, slots=True)
class PlainColumns:
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

    @property
    def absent_input(self) -> str | None:
        """What is taken for the input of a row without one: "", or None, which is not text, if the table has inputs."""
        return None if self.input else ""


def blank_row() -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """An output row and its two turns, to be filled in: making them anew for every row would take longer."""
    asked, answered = {"from": "human", "value": ""}, {"from": "gpt", "value": ""}
    return {"conversations": [asked, answered], "system": "", "tools": ""}, asked, answered


def plain_line(question: str, more: str, answer: str) -> bytes:
    r"""The output line: question and what belongs to it, joined by a line break, then the answer.

    >>> plain_line("q", "", "a")
    b'{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}],"system":"","tools":""}\n'
    """
    row, asked, answered = blank_row()
    asked["value"], answered["value"] = f"{question}\n{more}" if more else question, answer
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


QUOTES_IN_OUTPUT = plain_line("", "", "").count(b'"')


def plain_texts(record: Any, columns: PlainColumns) -> tuple[str, str, str] | None:
    """Question, input and answer of a record that has them as texts, the first and the last not blank, and no more.

    >>> columns = PlainColumns("instruction", "", "output")
    >>> plain_texts({"instruction": "q", "output": "a"}, columns)
    ('q', '', 'a')
    >>> plain_texts({"instruction": "q", "output": None}, columns) is None
    True
    """
    if type(record) is not dict or len(record) != len(columns.names):
        return None
    ask, more, tell = columns.keys
    question, extra, answer = record.get(ask), record.get(more, columns.absent_input), record.get(tell)
    if type(question) is not str or type(extra) is not str or type(answer) is not str:
        return None
    if not question or not answer or question.isspace() or answer.isspace():
        return None
    return question, extra, answer


def growth(raw: bytes, columns: PlainColumns) -> tuple[int, int]:
    """How many bytes longer the output is than an input line spaced like this one: with an empty input, and with one.

    A line that grows by exactly this holds nothing but its keys and texts, once each: output spells every text in the
    fewest bytes, and what a line could save on spacing is less than what a key that appears twice would add.

    >>> growth(b'{"instruction": "q", "output": "a"}', PlainColumns("instruction", "", "output"))
    (63, 65)
    """
    ways = [_spaced(columns, comma, colon) for comma in (b", ", b",") for colon in (b": ", b":")]
    frame = next((way for way in ways if raw.startswith(way.split(b'""', 1)[0])), ways[0])
    without = len(plain_line("", "", "")) - len(frame) - 1
    joint = len(plain_line("", "i", "")) - len(plain_line("", "", "")) - 1
    return without, without + joint


def _spaced(columns: PlainColumns, comma: bytes, colon: bytes) -> bytes:
    return b"{" + comma.join(orjson.dumps(name) + colon + b'""' for name in columns.names) + b"}"
