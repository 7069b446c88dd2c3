"""Whether the calls of an answer are the expected ones: Tool, Param and AST, each call's arguments, and what is off.

The calls of an answer are a multiset: their order does not count, their number does. Two values are equal when they are
as JSON: 1 equals 1.0 but not true, keys have no order, lists have one, texts are compared character by character
in Unicode's composed form (NFC).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.tool_calls.read_calls import read_calls, shows_call


class Reading(StrEnum):
    """The kind of an answer, as it was read."""

    CALLS = "calls"
    TEXT = "text"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer as it was read.

    Attributes:
        reading: calls; text without any; or something that has the marks of a call but is not one: a parse failure.
        calls: the calls, in order.
    """

    reading: Reading
    calls: tuple[ToolCall, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        calls = [{"name": call.name, "arguments": call.arguments} for call in self.calls]
        return {"reading": str(self.reading), "calls": calls}


@dataclass(frozen=True, slots=True)
class CallPair:
    """An expected call and the call of the same tool that answers it best.

    Attributes:
        name: the tool.
        is_called: whether there is such a call.
        has_keys: whether it has exactly the expected arguments, whatever their values.
        is_exact: whether the values are the expected ones, too.
        arguments: how many arguments were expected.
        exact_arguments: how many of them have the expected value.
    """

    name: str
    is_called: bool
    has_keys: bool
    is_exact: bool
    arguments: int
    exact_arguments: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """The scores of one answer.

    Attributes:
        reading: how it was read.
        tool: the names of the calls are the expected ones, as multisets.
        param: so are names and argument keys.
        ast: so are names, keys and values.
        pairs: each expected call with its answer.
        missing: expected calls whose tool was not called (often enough).
        extra: calls of tools that were not expected (so often).
        hallucinated: calls of tools that were not offered.
        error: what is wrong, in a few words; empty when nothing is.
    """

    reading: Reading
    tool: bool
    param: bool
    ast: bool
    pairs: tuple[CallPair, ...]
    missing: int
    extra: int
    hallucinated: int
    error: str = ""


def read_strictly(text: str, calls: Iterable[Mapping[str, Any]]) -> ReadAnswer:
    """An answer by the calls that the engine found in the template's own format."""
    found = tuple(ToolCall(str(call["name"]), call["arguments"]) for call in calls)
    if found and all(isinstance(call.arguments, Mapping) for call in found):
        return ReadAnswer(Reading.CALLS, found)
    return ReadAnswer(Reading.MALFORMED if found or shows_call(text) else Reading.TEXT)


def read_leniently(text: str, names: Collection[str]) -> ReadAnswer:
    """An answer by its calls in whatever format; ``names`` are the offered tools."""
    found = read_calls(text, names)
    if found:
        return ReadAnswer(Reading.CALLS, found)
    return ReadAnswer(Reading.MALFORMED if shows_call(text) else Reading.TEXT)


def judge_calls(expected: Sequence[ToolCall], offered: Collection[str], answer: ReadAnswer) -> Judgement:
    """Compare an answer with the expected calls; where none is expected, only plain text is right."""
    pairs = pair_calls(expected, answer.calls)
    missing, extra = count_differences(expected, answer.calls)
    is_whole = answer.reading is not Reading.MALFORMED
    levels = (_names, _keys, _values)
    tool, param, ast = (is_whole and level(expected) == level(answer.calls) for level in levels)
    hallucinated = sum(call.name not in offered for call in answer.calls)
    error = "" if ast else _error(expected, answer, tool=tool, param=param)
    return Judgement(answer.reading, tool, param, ast, pairs, missing, extra, hallucinated, error)


def count_differences(expected: Sequence[ToolCall], found: Sequence[ToolCall]) -> tuple[int, int]:
    """Expected calls without a call of their tool, and calls beyond the expected ones."""
    wanted, made = _names(expected), _names(found)
    return (wanted - made).total(), (made - wanted).total()


def pair_calls(expected: Sequence[ToolCall], found: Sequence[ToolCall]) -> tuple[CallPair, ...]:
    """Each expected call with a call of its tool, each used once; the pairs that agree best are made first."""
    agreement = sorted(
        (
            (_exact_arguments(wanted, made), -abs(len(wanted.arguments) - len(made.arguments)), -row, -column)
            for row, wanted in enumerate(expected)
            for column, made in enumerate(found)
            if wanted.name == made.name
        ),
        reverse=True,
    )
    partner: dict[int, int] = {}
    for _, _, row, column in agreement:
        if -row not in partner and -column not in partner.values():
            partner[-row] = -column
    return tuple(_pair(wanted, found[partner[row]] if row in partner else None) for row, wanted in enumerate(expected))


def _pair(wanted: ToolCall, made: ToolCall | None) -> CallPair:
    if made is None:
        return CallPair(wanted.name, False, False, False, len(wanted.arguments), 0)
    return CallPair(
        wanted.name,
        is_called=True,
        has_keys=set(wanted.arguments) == set(made.arguments),
        is_exact=freeze(wanted.arguments) == freeze(made.arguments),
        arguments=len(wanted.arguments),
        exact_arguments=_exact_arguments(wanted, made),
    )


def _exact_arguments(wanted: ToolCall, made: ToolCall) -> int:
    return sum(
        key in made.arguments and freeze(made.arguments[key]) == freeze(value)
        for key, value in wanted.arguments.items()
    )


def freeze(value: Any) -> Hashable:
    """A JSON value as something that is equal, and hashes equally, exactly when the JSON is."""
    if isinstance(value, Mapping):
        return ("object", frozenset((freeze(key), freeze(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(freeze(item) for item in value))
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    return (isinstance(value, bool), value)


def _names(calls: Sequence[ToolCall]) -> Counter[Hashable]:
    return Counter(call.name for call in calls)


def _keys(calls: Sequence[ToolCall]) -> Counter[Hashable]:
    return Counter((call.name, frozenset(call.arguments)) for call in calls)


def _values(calls: Sequence[ToolCall]) -> Counter[Hashable]:
    return Counter((call.name, freeze(call.arguments)) for call in calls)


def _error(expected: Sequence[ToolCall], answer: ReadAnswer, *, tool: bool, param: bool) -> str:
    if answer.reading is Reading.MALFORMED:
        return "what looks like a call can't be read"
    if not expected:
        return "a call where none was expected"
    if not answer.calls:
        return "no call"
    if not tool:
        return "other tools, or another number of calls"
    return "wrong values" if param else "other arguments"
