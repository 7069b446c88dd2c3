"""Rows and turns that are out of use, held out or judged bad, by fields that no format reads."""

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes

_QUESTION = {"role": "user", "content": "Is the sky green?"}
_ANSWER = {"role": "assistant", "content": "No, it is blue."}
_TOLD = {"from": "gpt", "value": "No, it is blue."}
_ASKED = {"from": "human", "value": "Is the sky green?"}
_PAIR = {"instruction": "Is the sky green?", "output": "No, it is blue."}


def _messages(*turns, **fields):
    return "openai", {"messages": list(turns) or [_QUESTION, _ANSWER], **fields}


def _conversations(*turns, **fields):
    return "sharegpt", {"conversations": list(turns) or [_ASKED, _TOLD], **fields}


def _pair(**fields):
    return "alpaca", {**_PAIR, **fields}


def _convert(case, **options):
    name, record = case
    notes = RowNotes()
    line, _ = convert_record(record, Conversion(name, ConvertOptions(**options)), notes)
    return line, notes


def _refused_by(case, **options):
    with pytest.raises(Reject) as caught:
        _convert(case, **options)
    return caught.value.rule


ALL_WAYS = [_messages, _conversations, _pair]


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    ("fields", "rule"),
    [({"enabled": False}, "weighted-row"), ({"isActive": "no"}, "weighted-row"), ({"deleted": True}, "weighted-row"),
     ({"skip": 1}, "weighted-row"), ({"include": "false"}, "weighted-row"), ({"archived": True}, "weighted-row"),
     ({"metadata": {"is_deleted": True}}, "weighted-row"), ({"is_test": True}, "held-out"),
     ({"heldout": 1}, "held-out"), ({"subset": "validation"}, "held-out"), ({"fold": "test"}, "held-out"),
     ({"metadata": {"split": "test"}}, "held-out"), ({"helpfulness": 0}, "labelled-bad"),
     ({"correctness": 0.0}, "labelled-bad"), ({"qa_status": "fail"}, "labelled-bad"),
     ({"review_status": "rejected"}, "labelled-bad"), ({"task_outcome": "failure"}, "labelled-bad"),
     ({"reviewer_decision": "reject"}, "labelled-bad"), ({"unit_tests_passed": False}, "labelled-bad"),
     ({"all_tests_passed": 0}, "labelled-bad")],
)  # fmt: skip
def test_a_row_that_is_out_of_use_held_out_or_judged_bad_is_not_trained(way, fields, rule):
    assert _refused_by(way(**fields)) == rule
    name = next(iter(fields))
    assert _convert(way(**fields), ignore=frozenset({name, "is_deleted", "split"}))[0]


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize(
    "fields",
    [{"enabled": True}, {"active": 1}, {"deleted": False}, {"use": "commercial"}, {"keep": "dry"}, {"set": "B"},
     {"subset": "test_taking"}, {"fold": 3}, {"data_type": "eval_code"}, {"phase": 2}, {"is_test": False},
     {"included": ["breakfast"]}, {"helpfulness": 3}, {"correctness": 1}, {"outcome": "sold"}, {"outcome": -3.5},
     {"outcome": 0}, {"decision": "no"},
     {"order_status": "rejected"}, {"result": "failed"}, {"decision": "approved"}, {"metadata": {"set": "A"}},
     {"active": 3}, {"removed": 2}, {"review_status": "approved"}],
)  # fmt: skip
def test_words_of_the_subject_are_no_such_marks(way, fields):
    assert _convert(way(**fields))[0]


@pytest.mark.parametrize("way", [_messages])
@pytest.mark.parametrize(
    "mark", [{"enabled": False}, {"active": "false"}, {"coefficient": 0}, {"deleted": True}, {"supervise": False}]
)
def test_a_turn_that_is_out_of_use_is_not_trained(way, mark):
    case = way(_QUESTION, {**_ANSWER, **mark})
    assert _refused_by(case) == "masked-turn"
    assert _convert(case, ignore=frozenset(mark))[0]
    good = {name: True if value is False else 1 if value == 0 else value is not True for name, value in mark.items()}
    assert _convert(way({**_QUESTION, "enabled": True}, {**_ANSWER, **good}))[0]
