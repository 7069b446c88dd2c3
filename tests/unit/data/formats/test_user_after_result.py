"""The user speaks right after a tool's result: who speaks stays true, and the written row holds both in one turn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.engine.joined_turns import JOINED_TURNS

END = "<|im_end|>\n<|im_start|>user\n"
SCHEMA = {"type": "object", "properties": {"port": {"type": "string"}}}
REMINDER = "<system-reminder>Only public berths.</system-reminder>"


def use(number: int, port: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"u{number}", "name": "berths", "input": {"port": port}}


def found(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"u{number}", "content": text, **more}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def blocks(uses: Iterable[dict[str, Any]], parts: list[Any], *more: tuple[str, Any]) -> dict[str, Any]:
    turns = [("user", "Free berths?"), ("assistant", list(uses)), ("user", parts), *(more or [("assistant", "Two.")])]
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "tools": [{"name": "berths", "description": "d", "input_schema": SCHEMA}],
    }


def written(record: dict[str, Any], template: str, kind: str = "anthropic") -> tuple[list[tuple[str, str]], RowNotes]:
    notes = RowNotes()
    line, _ = convert_record(record, Conversion(kind, ConvertOptions(), template), notes)
    return [(turn["from"], turn["value"]) for turn in json.loads(line)["conversations"]], notes


RESULT_THEN_TEXT = {
    "a reminder": (
        blocks([use(1, "Bergen")], [found(1, "2"), text(REMINDER)]),
        "<tool_response>\n2\n</tool_response>" + END + REMINDER,
    ),
    "two results": (
        blocks([use(1, "Bergen"), use(2, "Moss")], [found(1, "2"), found(2, "0"), text("And in Oslo?")]),
        "<tool_response>\n2\n</tool_response>\n<tool_response>\n0\n</tool_response>" + END + "And in Oslo?",
    ),
    "two results, out of order": (
        blocks([use(1, "Bergen"), use(2, "Moss")], [found(2, "0"), found(1, "2"), text("?")]),
        "<tool_response>\n2\n</tool_response>\n<tool_response>\n0\n</tool_response>" + END + "?",
    ),
    "in a turn of its own": (
        blocks([use(1, "Bergen")], [found(1, "2")], ("user", "Hm, and Moss?"), ("assistant", "None.")),
        "<tool_response>\n2\n</tool_response>" + END + "Hm, and Moss?",
    ),
    "interrupted": (
        blocks([use(1, "Bergen")], [found(1, "refused", is_error=True), text("[Request interrupted by user]")]),
        "<tool_response>\nError: refused\n</tool_response>" + END + "[Request interrupted by user]",
    ),
}


@pytest.mark.parametrize("case", RESULT_THEN_TEXT)
def test_text_beside_a_result_is_one_turn_with_it(case):
    record, expected = RESULT_THEN_TEXT[case]
    turns, notes = written(record, "qwen")
    assert [speaker for speaker, _ in turns] == ["human", "function_call", "human", "gpt"]
    assert turns[2][1] == expected
    assert notes.repairs["user-after-result-joined"] == 1
    assert notes.warnings == []
    for template in ("", "mistral"):
        with pytest.raises(Reject) as caught:
            written(record, template)
        assert caught.value.rule == "user-after-result"


@pytest.mark.parametrize(
    ("parts", "rule"),
    [
        ([text("First this."), found(1, "2")], "order"),
        ([found(1, "2"), text("Meanwhile."), found(2, "0")], "order"),
        ([{"type": "image", "source": {}}, found(1, "2")], "media"),
        ([found(1, "2"), {"type": "image", "source": {}}], "media"),
        ([found(1, "2"), text(" ")], "empty-turn"),
    ],
)
def test_what_stands_before_a_result_or_is_no_text_is_never_moved(parts, rule):
    with pytest.raises(Reject) as caught:
        written(blocks([use(1, "Bergen"), use(2, "Moss")], parts), "qwen")
    assert caught.value.rule == rule


def test_words_after_the_last_result_are_cut_with_it():
    record = blocks([use(1, "Bergen")], [found(1, "2"), text("Thanks.")], ("user", " "))
    del record["messages"][-1]
    turns, notes = written(record, "qwen")
    assert [speaker for speaker, _ in turns] == ["human", "function_call"]
    assert dict(notes.repairs) == {"trailing-turns": 1}


def test_the_last_exchange_begins_with_the_users_words():
    notes = RowNotes()
    record = blocks([use(1, "Bergen")], [found(1, "2"), text("And in Moss?")])
    line, _ = convert_record(record, Conversion("anthropic", ConvertOptions(), "qwen", last_exchange=True), notes)
    assert [turn["value"] for turn in json.loads(line)["conversations"]] == ["And in Moss?", "Two."]
    assert dict(notes.repairs) == {"cut-to-last-exchange": 1}


def test_a_row_is_one_and_the_same_whatever_template_it_is_written_for():
    record = blocks([use(1, "Bergen")], [found(1, "2"), text("And in Moss?")])
    keys = {
        convert_record(record, Conversion("anthropic", ConvertOptions(), name), RowNotes())[1] for name in JOINED_TURNS
    }
    assert len(keys) == 1


OTHERS = {
    "openai": {
        "messages": [
            {"role": "user", "content": "Free berths?"},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "berths", "arguments": {}}}]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
            {"role": "user", "content": "In June."},
            {"role": "assistant", "content": "Two."},
        ],
        "tools": [{"type": "function", "function": {"name": "berths", "parameters": SCHEMA}}],
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "Free berths?"},
            {"from": "function_call", "value": '{"name": "berths", "arguments": {}}'},
            {"from": "observation", "value": "2"},
            {"from": "human", "value": "In June."},
            {"from": "gpt", "value": "Two."},
        ],
        "tools": json.dumps([{"name": "berths", "description": "d", "parameters": SCHEMA}]),
    },
    "openai-responses": {
        "responses_create_params": {
            "input": [
                {"role": "user", "content": "Free berths?"},
                {"type": "function_call", "call_id": "1", "name": "berths", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "2"},
                {"role": "user", "content": "In June."},
                {"role": "assistant", "content": "Two."},
            ],
            "tools": [{"type": "function", "name": "berths", "description": "d", "parameters": SCHEMA}],
        }
    },
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("template", sorted(JOINED_TURNS))
def test_every_format_and_every_template_with_a_form(kind, template):
    assert FORMATS[kind].evidence(OTHERS[kind])
    turns, notes = written(OTHERS[kind], template, kind)
    form = JOINED_TURNS[template]
    assert turns[2] == (form.speaker, form.text("2", "In June."))
    assert notes.repairs["user-after-result-joined"] == 1
    assert "special-token" not in [rule for rule, _ in notes.warnings]


@given(
    result=st.text(st.characters(codec="utf-8"), min_size=1),
    said=st.text(st.characters(codec="utf-8")).filter(str.strip),
    template=st.sampled_from(sorted(JOINED_TURNS)),
)
def test_both_texts_stand_in_the_turn_unchanged(result, said, template):
    record = json.loads(json.dumps(OTHERS["openai"]))
    record["messages"][2]["content"], record["messages"][3]["content"] = result, said
    alone = json.loads(json.dumps(record))
    del alone["messages"][3]
    try:
        (_, observed), (_, joined) = written(alone, template, "openai")[0][2], written(record, template, "openai")[0][2]
    except Reject as reject:
        assert reject.rule in {"placeholder", "media-placeholder", "zero-byte"}  # noqa: PT017 - either is right, or none
        return
    form = JOINED_TURNS[template]
    assert joined == form.opening + observed + form.between + said
