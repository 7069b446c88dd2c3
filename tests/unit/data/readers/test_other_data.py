"""Files that hold no questions with answers are refused by the name of their kind."""

import json

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import DataError

_ASKED = {"role": "user", "content": "q"}


def _refusal(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        prepare(Request((str(path),), tmp_path, "x"))
    return f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Is it?", "chosen": "No.", "rejected": "Yes."},
        {
            "chosen_messages": [{"role": "user", "content": "q"}],
            "rejected_messages": [{"role": "user", "content": "q"}],
        },
        {"input": {"messages": []}, "preferred_output": [], "non_preferred_output": []},
        {"question": "q", "answer_a": "x", "answer_b": "y", "winner": "a"},
        {"prompt": [_ASKED], "chosen": [_ASKED], "rejected": [_ASKED]},
        {"id": 1, "conversation_a": [_ASKED], "conversation_b": [_ASKED], "winner": "tie"},
        {"input": {"messages": [_ASKED]}, "preferred_output": [_ASKED], "non_preferred_output": [_ASKED]},
    ],
)
@pytest.mark.parametrize("rows", [1, 2])
def test_preference_data_are_called_so(tmp_path, record, rows):
    assert "preference data" in _refusal(tmp_path, "a.jsonl", rows * (json.dumps(record) + "\n"))


@pytest.mark.parametrize("record", [{"text": "Long ago."}, {"text": "Once", "url": "u", "id": 1}, {"正文": "从前"}])
def test_texts_for_pretraining_are_called_so(tmp_path, record):
    assert "plain text" in _refusal(tmp_path, "a.jsonl", json.dumps(record) + "\n")


def test_an_article_is_called_plain_text(tmp_path):
    article = "A harbour is a place where ships are safe, as every sailor knows well.\nIt has walls.\n"
    assert "plain text" in _refusal(tmp_path, "wiki.txt", article)
