"""Questions from files as people have them."""

from __future__ import annotations

import json

import pytest

from lfwrap.errors import DataError
from lfwrap.results.questions import load_questions


def test_text_has_one_question_a_line(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text('\ufeffOne?\n\n  两个？ \r\n{"not": "json here"}\n', encoding="utf-8")
    assert [question.text for question in load_questions(path)] == ["One?", "两个？", '{"not": "json here"}']


@pytest.mark.parametrize(
    ("row", "text", "system", "reference"),
    [
        ("Why?", "Why?", "S", None),
        ({"question": "Why?", "answer": "So."}, "Why?", "S", "So."),
        ({"问题": "为什么？", "回答": "所以。"}, "为什么？", "S", "所以。"),
        ({"instruction": "Translate.", "input": "dog", "output": "chien"}, "Translate.\ndog", "S", "chien"),
        ({"instruction": "Why?", "input": "", "system": "Own"}, "Why?", "Own", None),
        (
            {"messages": [{"role": "system", "content": "Own"}, {"role": "user", "content": "Why?"}]},
            "Why?",
            "Own",
            None,
        ),
        (
            {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}], "system": ""},
            "Why?",
            "S",
            "So.",
        ),
    ],
)
def test_rows_in_the_usual_layouts(tmp_path, row, text, system, reference):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    [question] = load_questions(path, "S")
    assert (question.text, question.system, question.reference) == (text, system, reference)


def test_history_is_kept_and_tools_become_text(tmp_path):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    path = tmp_path / "q.json"
    path.write_text(json.dumps([{"messages": turns, "tools": [{"name": "t"}]}]))
    [question] = load_questions(path)
    assert list(question.messages) == turns
    assert json.loads(question.tools) == [{"name": "t"}]
    assert question.to_request()["id"] == 0


def test_a_line_separator_inside_json_is_no_line_break(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "a\u2028b"}\n', encoding="utf-8")
    assert [question.text for question in load_questions(path)] == ["a\u2028b"]


def test_every_bad_row_is_named_with_its_line(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "ok"}\n{broken\n{"other": 1}\n{"messages": [{"role": "user"}]}\n7\n')
    with pytest.raises(DataError) as caught:
        load_questions(path)
    assert [finding.line for finding in caught.value.findings] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "no questions"), (b"\xff\xfe\xff", "not UTF-8"), (None, "No such")]
)
def test_files_without_questions(tmp_path, content, reason):
    path = tmp_path / "q.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_questions(path)
