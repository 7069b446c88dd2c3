"""Answers that the source itself calls cut off are not trained: the model would learn to stop in the middle."""

import json

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

_ASKED = {"role": "user", "content": "Why is the sky blue?"}
_TOLD = {"role": "assistant", "content": "Because the air"}
_SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Because the air"}]}


def _convert(name, record, **options):
    notes = RowNotes()
    convert_record(record, Conversion(name, ConvertOptions(**options)), notes)
    return notes


def _rule_of(name, record):
    with pytest.raises(Reject) as caught:
        _convert(name, record)
    assert "--ignore" in caught.value.reason
    return caught.value.rule


@pytest.mark.parametrize(
    "field",
    [{"finish_reason": "length"}, {"finishReason": "MAX_TOKENS"}, {"stop_reason": "max_tokens"},
     {"done_reason": "length"}, {"stop_reason": "model_context_window_exceeded"}, {"finish_reason": "content_filter"},
     {"status": "incomplete"}, {"status": "in_progress"}, {"status": "cancelled"}, {"finish_reason": ["length"]},
     {"finish-reason": " Length "}],
)  # fmt: skip
def test_a_row_or_turn_that_was_cut_off(field):
    assert _rule_of("openai", {"messages": [_ASKED, _TOLD], **field}) == "cut-answer"
    assert _rule_of("openai", {"messages": [_ASKED, {**_TOLD, **field}]}) == "cut-answer"
    assert _rule_of("openai", {"messages": [_ASKED, _TOLD], "metadata": field}) == "cut-answer"
    assert _rule_of("alpaca", {"instruction": "Why?", "output": "Because the air", **field}) == "cut-answer"
    assert _rule_of("openai-responses", {"input": "Why?", "output": [{**_SAID, **field}]}) == "cut-answer"


@pytest.mark.parametrize(
    "field",
    [{"finish_reason": "stop"}, {"stop_reason": "end_turn"}, {"finish_reason": "tool_calls"}, {"status": "completed"},
     {"stop_reason": "refusal"}, {"stop_reason": "stop_sequence"}, {"finish_reason": None}, {"status": "length"},
     {"length": "length"}],
)  # fmt: skip
def test_answers_that_ended_by_themselves(field):
    _convert("openai", {"messages": [_ASKED, {**_TOLD, **field}], **field})


def test_what_is_said_of_the_users_turn_is_nothing():
    _convert("openai", {"messages": [{**_ASKED, "status": "incomplete"}, _TOLD]})


def test_such_an_answer_is_trained_where_it_is_asked_for():
    record = {"messages": [_ASKED, {**_TOLD, "finish_reason": "length"}], "stop_reason": "max_tokens"}
    _convert("openai", record, ignore=frozenset({"finish_reason", "stop_reason"}))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "columns.json"])
def test_a_column_of_any_table_says_it(tmp_path, name):
    columns = {"instruction": ["One?", "Two?"], "output": ["cut", "whole"], "finish_reason": ["length", "stop"]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    between = "," if name == "a.csv" else "\t"
    lines = [between.join(columns), *(between.join(row.values()) for row in rows)]
    text = {
        "a.json": json.dumps(rows),
        "columns.json": json.dumps(columns),
        "a.jsonl": "\n".join(map(json.dumps, rows)),
    }
    (tmp_path / name).write_text(text.get(name, "\n".join(lines)), encoding="utf-8")
    report = prepare(Request((str(tmp_path / name),), tmp_path / "out", "x"))
    assert report.rejects == {"cut-answer": 1}
    assert "whole" in (tmp_path / "out" / "x.jsonl").read_text("utf-8")
