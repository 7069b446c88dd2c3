"""Conversations made by hypothesis, as the second reader's `Told`, and texts that trip careless readers."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from second_reader.said import Call, Result, Told, Tool, Turn

# Marks that the layouts or the engine give a meaning of their own; a text that holds one is another test's subject.
_MARKS = ("<think", "</think", "<tool_", "</tool_", "<image>", "<video>", "<audio>", "{{idx}}", "<functioncall>", "<|")
_ODD = (
    'He said "no".', "two\nlines\n", " leading and trailing ", "tab\tand \\n no break", '{"a": [1, "\\u5317"]}',
    "北京", "a\u2028b\u0085c", "😀", "NA", "null", "007", "true", "-", "[x(y=1)]", "\\u0041", "a\rb", "'", "a, b; c|d",
)  # fmt: skip
TEXT = (
    (st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=24) | st.sampled_from(_ODD))
    .filter(str.strip)
    .filter(lambda text: not any(mark in text for mark in _MARKS))
)
NAME = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)
KEY = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
_LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.just("")
)
VALUE = st.recursive(
    _LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
ARGUMENTS = st.dictionaries(KEY, VALUE, max_size=3)
# Fields that no layout knows and nobody trains by.
EXTRAS = st.dictionaries(st.sampled_from(["x_note", "uuid", "lang", "difficulty", "made_at"]), VALUE, max_size=2)
_TYPES = ("string", "integer", "number", "boolean", "array", "object")


@st.composite
def tools(draw: Any) -> tuple[Tool, ...]:
    """One to three tools with schemas as people write them."""
    made = []
    for name in draw(st.lists(NAME, min_size=1, max_size=3, unique=True)):
        properties = {}
        for key in draw(st.lists(KEY, max_size=3, unique=True)):
            properties[key] = {"type": draw(st.sampled_from(_TYPES)), "description": draw(TEXT)}
            if draw(st.booleans()):
                properties[key]["default"] = draw(VALUE)
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if properties and draw(st.booleans()):
            schema["required"] = [next(iter(properties))]
        made.append(Tool(name, draw(TEXT | st.just("")), schema))
    return tuple(made)


@st.composite
def talks(
    draw: Any,
    *,
    most_calls: int = 3,
    beside: bool = True,
    thoughts: bool = True,
    after: bool = False,
    most_turns: int = 3,
) -> Told:
    """A conversation with a system prompt or none, tools, calls and their results, thoughts and answers."""
    declared = draw(tools() | st.just(()))
    turns: list[Turn] = []
    for _ in range(draw(st.integers(1, most_turns))):
        turns.append(Turn("user", draw(TEXT)))
        for _ in range(draw(st.integers(0, 2)) if declared else 0):
            names = draw(st.lists(st.sampled_from([tool.name for tool in declared]), min_size=1, max_size=most_calls))
            calls = tuple(Call(name, json.dumps(draw(ARGUMENTS), ensure_ascii=False)) for name in names)
            text = draw(st.just("") | TEXT) if beside else ""
            turns.append(Turn("assistant", text, draw(st.just("") | TEXT).strip() if thoughts else "", calls))
            turns.append(Turn("results", results=tuple(Result((draw(TEXT),), name) for name in names)))
        if after and turns[-1].who == "results" and draw(st.booleans()):
            turns.append(Turn("user", draw(TEXT)))
        turns.append(Turn("assistant", draw(TEXT), draw(st.just("") | TEXT).strip() if thoughts else ""))
    if declared and draw(st.booleans()):  # a row may end with its calls
        last = [place for place, turn in enumerate(turns) if turn.calls]
        turns = turns[: last[-1] + 1] if last else turns
    return Told(tuple(turns), (draw(st.just("") | TEXT),), declared)


@st.composite
def asked_calls(draw: Any, *, most_calls: int = 3) -> Told:
    """One question and its calls."""
    declared = draw(tools())
    names = draw(st.lists(st.sampled_from([tool.name for tool in declared]), min_size=1, max_size=most_calls))
    calls = tuple(Call(name, json.dumps(draw(ARGUMENTS), ensure_ascii=False)) for name in names)
    return Told((Turn("user", draw(TEXT)), Turn("assistant", calls=calls)), ("",), declared)
