"""Harmony's channels, as fields of messages and as marks in a text: thoughts are no answers."""

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.openai_chat import convert

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
