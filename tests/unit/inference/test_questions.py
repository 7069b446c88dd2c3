"""Questions from files as people have them."""

from __future__ import annotations

import json

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.errors import DataError
from lfwrap.inference.questions import load_questions, read_tools


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
    [tool] = json.loads(question.tools)
    assert (tool["type"], tool["function"]["name"]) == ("function", "t")
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


def test_alpaca_rows_with_history_become_the_conversation_they_were(tmp_path):
    path = tmp_path / "q.json"
    row = {"instruction": "And then?", "input": "", "output": "The end.", "history": [["Tell.", "Once."]]}
    path.write_text(json.dumps([row]))
    [question] = load_questions(path)
    assert [turn["content"] for turn in question.messages] == ["Tell.", "Once.", "And then?"]
    assert question.reference == "The end."


def test_openai_calls_are_read_as_training_would_show_them(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}
    tool = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
    turns = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
        {"role": "assistant", "content": "Noon."},
    ]
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"messages": turns, "tools": [tool]}) + "\n")
    [question] = load_questions(path)
    assert [turn["role"] for turn in question.messages] == ["user", "function", "observation"]
    assert json.loads(question.messages[1]["content"]) == {"name": "clock", "arguments": {"zone": "UTC"}}
    assert question.reference == "Noon."
    assert json.loads(question.tools)[0]["function"]["name"] == "clock"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.csv", "指令,回答\n为什么？,所以。\n".encode()),
        ("q.csv", "指令;回答\r\n为什么？;所以。\r\n".encode("gb18030")),
        ("q.tsv", "问题\t答案\n为什么？\t所以。\n".encode("utf-16")),
    ],
)
def test_tables_as_programs_export_them(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    [question] = load_questions(path)
    assert (question.text, question.reference) == ("为什么？", "所以。")


def test_expected_calls_are_the_reference_and_tools_come_from_files(tmp_path):
    questions = load_questions(bundled_path("data/mcp_questions.jsonl"), tools='[{"name": "t"}]')
    assert len(questions) == 12
    assert json.loads(questions[0].reference)["name"] == "tidewatch.get_tides"
    assert questions[0].tools == '[{"name": "t"}]'
    tools = json.loads(read_tools([bundled_path("data/mcp/tools.json")], "qwen"))
    assert len(tools) == 28
    assert read_tools([], "qwen") is None


def test_keywords_of_a_row(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "a", "must_contain": "x"}\n{"question": "b", "must_contain": ["x", "y"]}\n"c"\n')
    assert [question.must_contain for question in load_questions(path)] == [("x",), ("x", "y"), ()]
    path.write_text('{"question": "a", "must_contain": 7}\n')
    with pytest.raises(DataError) as caught:
        load_questions(path)
    assert "must_contain" in str(caught.value.findings[0])
