"""Calls are read back from every way of writing them, and judged alike in every order."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.tool_calls.matching import ReadAnswer, Reading, freeze, judge_calls
from lfwrap.evaluate.tool_calls.read_calls import read_calls, shows_call

NAMES = ("get_tides", "parcel-track", "ledger.record_expense")
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text(max_size=12)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=2)
ARGUMENTS = st.dictionaries(st.sampled_from(["port", "date", "n", "键"]), VALUES, max_size=4)
CALLS = st.lists(st.builds(ToolCall, st.sampled_from(NAMES), ARGUMENTS), min_size=1, max_size=3)


def as_json(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


WRITERS = {
    "json list": lambda calls: "[" + ", ".join(map(as_json, calls)) + "]",
    "json lines": lambda calls: "\n".join(map(as_json, calls)),
    "tags": lambda calls: "\n".join(f"<tool_call>\n{as_json(call)}\n</tool_call>" for call in calls),
    "fences": lambda calls: "Calls:\n" + "\n".join(f"```json\n{as_json(call)}\n```" for call in calls),
    "openai": lambda calls: json.dumps([
        {"type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}} for call in calls
    ]),
    "action": lambda calls: "\n".join(
        f"Action: {call.name}\nAction Input: {json.dumps(call.arguments)}" for call in calls
    ),
}  # fmt: skip


@settings(max_examples=40)
@given(CALLS, st.sampled_from(sorted(WRITERS)))
def test_what_was_written_is_read(calls, writer):
    text = WRITERS[writer](calls)
    assert [(call.name, freeze(call.arguments)) for call in read_calls(text, NAMES)] == [
        (call.name, freeze(call.arguments)) for call in calls
    ]


@settings(max_examples=40)
@given(st.text(max_size=200))
def test_any_text_can_be_read(text):
    calls = read_calls(text, NAMES)
    assert all(isinstance(call, ToolCall) and call.name and isinstance(call.arguments, dict) for call in calls)
    assert shows_call(f"{text}\n<tool_call>")
    assert read_calls(f"<think>{text}</think>", NAMES) == read_calls("", NAMES) == () or "</think>" in text


@settings(max_examples=40)
@given(CALLS, st.randoms(use_true_random=False))
def test_order_does_not_count(calls, draw):
    shuffled = list(calls)
    draw.shuffle(shuffled)
    judgement = judge_calls(calls, NAMES, ReadAnswer(Reading.CALLS, tuple(shuffled)))
    assert judgement.tool
    assert judgement.param
    assert judgement.ast
    assert all(pair.is_exact for pair in judgement.pairs)


@settings(max_examples=40)
@given(CALLS, CALLS)
def test_each_level_implies_the_one_before_and_counts_add_up(expected, found):
    judgement = judge_calls(expected, NAMES, ReadAnswer(Reading.CALLS, tuple(found)))
    assert judgement.ast <= judgement.param <= judgement.tool
    assert (
        len(expected) - judgement.missing
        == len(found) - judgement.extra
        == sum(pair.is_called for pair in judgement.pairs)
    )
    assert judgement.tool == (judgement.missing == judgement.extra == 0)


@settings(max_examples=40)
@given(CALLS, st.data())
def test_one_changed_value_is_seen(calls, data):
    index = data.draw(st.integers(0, len(calls) - 1))
    changed = [*calls]
    arguments = {**calls[index].arguments, "zzz": "added"}
    changed[index] = ToolCall(calls[index].name, arguments)
    judgement = judge_calls(calls, NAMES, ReadAnswer(Reading.CALLS, tuple(changed)))
    assert judgement.tool
    assert not judgement.param
    assert not judgement.ast
