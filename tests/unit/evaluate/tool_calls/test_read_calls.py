"""Calls in whatever format a model took to."""

from __future__ import annotations

import pytest

from lfwrap.evaluate.tool_calls.read_calls import read_calls, shows_call

NAMES = ("get_tides", "parcel-track", "ledger.record_expense")
ONE = [("get_tides", {"port": "Heron Creek", "days": 2})]
CALL = '{"name": "get_tides", "arguments": {"port": "Heron Creek", "days": 2}}'
TAGGED = "<parameter=port>\nHeron Creek\n</parameter>\n<parameter=days>\n2\n</parameter>\n"


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"I will look that up.\n```json\n{CALL}\n```\nOne moment.",
        f"<think>\nshould I call {{}}? {CALL.replace('2', '9')}\n</think>\n\n{CALL}",
        f"[TOOL_CALLS][{CALL}]",
        '{"type": "function", "function": ' + CALL + "}",
        CALL.replace("arguments", "parameters"),
        '{"name": "get_tides", "arguments": "{\\"port\\": \\"Heron Creek\\", \\"days\\": 2}"}',
        "{'name': 'get_tides', 'arguments': {'port': 'Heron Creek', 'days': 2}}",
        'Action: get_tides\nAction Input: {"port": "Heron Creek", "days": 2}',
        'get_tides\n{"port": "Heron Creek", "days": 2}',
        'I call get_tides({"port": "Heron Creek", "days": 2}) now.',
        '[get_tides(port="Heron Creek", days=2)]',
        'get_tides(port="Heron Creek", days=2)',
        f"<tool_call>\n<function=get_tides>\n{TAGGED}</function>\n</tool_call>",
        '<invoke name="get_tides">\n' + TAGGED.replace("=port", ' name="port"') + "</invoke>",
    ],
)
def test_one_call_is_read_in_many_formats(text):
    assert [(call.name, call.arguments) for call in read_calls(text, NAMES)] == ONE


def test_names_that_the_engine_can_not_read_are_read():
    text = 'Action: parcel-track\nAction Input: {"id": 1}\nAction: ledger.record_expense\nAction Input: {"amount": 2.5}'
    assert [call.name for call in read_calls(text)] == ["parcel-track", "ledger.record_expense"]


def test_parallel_calls_keep_their_order():
    block = '<tool_call>\n{"name": "a", "arguments": {"n": %d}}\n</tool_call>\n'
    assert [call.arguments["n"] for call in read_calls(block % 2 + block % 1)] == [2, 1]
    assert [
        call.arguments["n"]
        for call in read_calls('[{"name":"a","arguments":{"n":1}},{"name":"a","arguments":{"n":2}}]')
    ] == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The tide is high at 15:36.",
        'The settings are {"port": "Heron Creek"}.',
        '{"name": "Ada", "age": 36}',
        "Use get_tides for that.",
        "A list: [1, 2, 3]",
        '{"name": "get_tides", "arguments": [1, 2]}',
        "{" * 5000,
        "[" * 200_000,
    ],
)
def test_plain_text_holds_no_call(text):
    assert read_calls(text, NAMES) == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<tool_call>{"name": "get_tides", "argum', True),
        ('Action: get_tides\nAction Input: {"port": "Her', True),
        ('{"name": "x", "arguments": {"a": ', True),
        ("The tide is high at 15:36.", False),
        ("<think>Action: none</think>No call is needed.", False),
    ],
)
def test_what_was_to_be_a_call_is_told_from_text(text, shown):
    assert shows_call(text) is shown
    assert read_calls(text, ("other",)) == ()
