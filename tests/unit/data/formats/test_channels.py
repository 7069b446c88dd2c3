"""Harmony's channels, as fields of messages and as marks in a text: thoughts are no answers."""

import json

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats import sharegpt
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.openai_chat import convert
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

_USER = {"role": "user", "content": "2 + 3?"}


def _last(*turns):
    return convert({"messages": [_USER, *turns]}, ConvertOptions(), RowNotes()).messages[-1]


def _on(channel, content, **fields):
    return {"role": "assistant", "channel": channel, "content": content, **fields}


def test_the_analysis_is_the_thought_and_the_final_channel_the_answer():
    last = _last(_on("analysis", "2 + 3 = 5"), _on("final", "5"))
    assert (last.thought, last.text) == ("2 + 3 = 5", "5")


def test_commentary_for_a_function_is_a_call():
    called = _on("commentary", '{"a": 2}', recipient="functions.add")
    result = {"role": "tool", "name": "functions.add", "channel": "commentary", "content": "5"}
    conversation = convert(
        {"messages": [_USER, _on("analysis", "Add."), called, result, _on("final", "5")]}, ConvertOptions(), RowNotes()
    )
    _, call, told, answer = conversation.messages
    assert (call.thought, call.calls[0].name, call.calls[0].arguments) == ("Add.", "add", {"a": 2})
    assert (told.name, told.text, answer.text) == ("add", "5", "5")


def test_commentary_for_nobody_is_said_to_the_user():
    assert _last(_on("commentary", "I add them."), _on("final", "5")).text == "I add them.\n5"


@pytest.mark.parametrize("channel", ["summary", "Analysis ", "", 3])
def test_another_channel_refuses_the_row(channel):
    with pytest.raises(Reject) as caught:
        _last(_on(channel, "5"))
    assert caught.value.rule == "channel"


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>analysis<|message|>2 + 3 = 5<|end|><|start|>assistant<|channel|>final<|message|>5<|return|>",
        "<|start|>assistant<|channel|>analysis<|message|>2 + 3 = 5<|end|>\n<|channel|>final<|message|>5",
    ],
)
def test_marks_in_a_text_are_read(text):
    last = _last({"role": "assistant", "content": text})
    assert (last.thought, last.text) == ("2 + 3 = 5", "5")


def test_marks_of_a_call_are_read():
    text = '<|channel|>commentary to=functions.add <|constrain|>json<|message|>{"a": 2}<|call|>'
    assert _last({"role": "assistant", "content": text}).calls[0].arguments == {"a": 2}


@pytest.mark.parametrize("text", ["so <|channel|>analysis", "<|channel|>final<|message|>5<|end|> and more"])
def test_marks_that_make_no_sense_refuse_the_row(text):
    with pytest.raises(Reject) as caught:
        _last({"role": "assistant", "content": text})
    assert caught.value.rule == "channel"


def test_no_thought_is_trained_as_an_answer():
    record = {"messages": [_USER, _on("analysis", "SECRET"), _on("final", "5")]}
    line, _ = convert_record(record, Conversion("openai", ConvertOptions()), RowNotes())
    assert b"<think>\\nSECRET\\n</think>" in line


_CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}


@pytest.mark.parametrize("content", ["", None])
def test_calls_beside_a_channel_are_calls(content):
    last = _last(_on("commentary", content, tool_calls=[_CALL]))
    assert [(call.name, call.arguments) for call in last.calls] == [("add", {"a": 2})]


def test_an_analysis_beside_its_calls_is_their_thought():
    last = _last(_on("analysis", "Add.", tool_calls=[_CALL]))
    assert (last.thought, last.calls[0].name) == ("Add.", "add")


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_beside_a_channel_or_marks_is_not_lost(key):
    assert _last(_on("final", "5", **{key: "Add."})).thought == "Add."
    marked = {"role": "assistant", "content": "<|channel|>final<|message|>5<|return|>", key: "Add."}
    assert _last(marked).thought == "Add."


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "gpt", "value": "Add.", "channel": "analysis"}, {"from": "gpt", "value": "5", "channel": "final"}],
        [{"from": "gpt", "value": "<|channel|>analysis<|message|>Add.<|end|><|channel|>final<|message|>5<|return|>"}],
    ],
)
def test_channels_of_from_value_turns_are_read_too(turns):
    record = {"conversations": [{"from": "human", "value": "2 + 3?"}, *turns]}
    last = sharegpt.convert(record, ConvertOptions(), RowNotes()).messages[-1]
    assert (last.thought, last.text) == ("Add.", "5")


@pytest.mark.parametrize("channel", ["summary", "Final"])
def test_an_unknown_channel_of_a_from_value_turn_is_refused(channel):
    turns = [{"from": "human", "value": "2 + 3?"}, {"from": "gpt", "value": "5", "channel": channel}]
    with pytest.raises(Reject) as caught:
        sharegpt.convert({"conversations": turns}, ConvertOptions(), RowNotes())
    assert caught.value.rule == "channel"


@pytest.mark.parametrize("template", ["", "qwen", "gpt_oss"])
@pytest.mark.parametrize("jobs_rows", [1, 60])
def test_marks_in_a_plain_answer_refuse_the_row(tmp_path, template, jobs_rows):
    rows = [{"instruction": f"q{n}", "output": f"a{n}"} for n in range(jobs_rows)]
    rows.append({"instruction": "q", "output": "<|channel|>analysis<|message|>SECRET<|end|>"})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = prepare(Request((str(path),), tmp_path / "o", "x", template=template))
    assert report.rejects == {"channel": 1}


def test_a_mark_of_a_picture_without_a_picture_is_warned_about(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "<image> What is it?", "output": "A cat."}\n{"instruction": "q", "output": "a"}\n')
    report = prepare(Request((str(path),), tmp_path / "o", "x", template="qwen"))
    assert report.warnings["media-mark"].count == 1
