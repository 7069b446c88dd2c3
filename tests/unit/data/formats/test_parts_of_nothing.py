"""Parts that hold null, or texts in a list, are never trained as Python spells them."""

import json

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.data.formats.parts.texts import result_text

_ASKED = {"role": "user", "content": "Why?"}
_TEXT = {"type": "text", "text": "So."}
_CALL = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
_TOOLS = [{"name": "look", "description": "Looks", "input_schema": {"type": "object", "properties": {}}}]


def _turns(name, *messages, **fields):
    line, _ = convert_record(
        {"messages": [_ASKED, *messages], **fields}, Conversion(name, ConvertOptions()), RowNotes()
    )
    return [turn["value"] for turn in json.loads(line)["conversations"][1:]]


@pytest.mark.parametrize("name", ["anthropic", "openai"])
@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        (None, "So."),
        ("", "So."),
        ("Hm.", "<think>\nHm.\n</think>\n\nSo."),
        ([{"type": "text", "text": "Hm."}], "<think>\nHm.\n</think>\n\nSo."),
        ([{"type": "text", "text": "H"}, {"type": "text", "text": "m."}], "<think>\nHm.\n</think>\n\nSo."),
    ],
)
def test_thoughts(name, thought, expected):
    answer = {"role": "assistant", "content": [{"type": "thinking", "thinking": thought}, _TEXT]}
    assert _turns(name, answer) == [expected]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{"type": "text", "text": None}], ""),
        ([{"type": "text", "text": None}, _TEXT], "\nSo."),
        ([{"type": "text", "text": {"a": True}}], '{"a": true}'),
    ],
)
def test_results(parts, expected):
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": parts}]}
    answer = {"role": "assistant", "content": [_TEXT]}
    turns = _turns("anthropic", {"role": "assistant", "content": [_CALL]}, result, answer, tools=_TOOLS)
    assert turns[1] == expected


def test_summaries_and_links():
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": None}]}
    answer = {"type": "message", "role": "assistant", "content": "So."}
    record = {"input": "Why?", "output": [summary, answer]}
    line, _ = convert_record(record, Conversion("openai-responses", ConvertOptions()), RowNotes())
    assert json.loads(line)["conversations"][1]["value"] == "So."
    assert result_text([{"type": "resource_link", "uri": None}], RowNotes()) == ("", False)


@pytest.mark.parametrize("channel", [{}, {"channel": None}, {"channel": "commentary"}])
def test_a_turn_that_goes_to_a_function_is_a_call(channel):
    call = {"role": "assistant", "recipient": "functions.look", "content": '{"at": 1}', **channel}
    tools = [{"type": "function", "function": {"name": "look", "description": "Looks", "parameters": {}}}]
    assert _turns("openai", call, tools=tools) == ['{"name": "look", "arguments": {"at": 1}}']
