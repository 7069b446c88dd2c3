"""Formats that read files themselves: the rules for broken JSON are those of all rows, and memory stays flat."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

TOOL = {"name": "pay", "description": "d", "parameters": {"type": "object", "properties": {}}}
BAD = {
    '{"sum": 3, "sum": 4}': "duplicate-key",
    '{"sum": NaN}': "not-json",
    '{"sum": 2e999}': "not-json",
    '{"sum": [-Infinity]}': "not-json",
    '{"sum": {"in": 1, "in": 1}}': "duplicate-key",
    '{"sum": 1x': "not-json",
}


def trajectory(arguments: str) -> str:
    call = f'{{"type": "function", "function": {{"name": "pay", "arguments": {arguments}}}}}'
    asked = '{"role": "user", "content": "Pay."}'
    return f'[{asked}, {{"role": "assistant", "content": "", "tool_calls": {call}}}]'


def rules_of(name, path):
    values = [record.value for record in FORMATS[name].read(path, ConvertOptions())]
    return [value.rule if isinstance(value, Reject) else "fine" for value in values]


@pytest.mark.parametrize("arguments", BAD)
@pytest.mark.parametrize("layout", ["lines", "list", "pretty list"])
def test_a_trajectory_that_json_cannot_hold_is_rejected_alone(tmp_path, arguments, layout):
    rows = [trajectory('{"sum": 1}'), trajectory(arguments), trajectory('{"sum": 5}')]
    between = {"lines": "\n", "list": ", ", "pretty list": ",\n  "}[layout]
    text = between.join(rows)
    path = tmp_path / "t.json"
    path.write_text(text if layout == "lines" else f"[\n{text}\n]" if "pretty" in layout else f"[{text}]")
    assert rules_of("mcpflow-trajectories", path) == ["fine", BAD[arguments], "fine"]


def test_the_first_line_may_be_the_broken_one(tmp_path):
    path = tmp_path / "t.jsonl"
    row = json.dumps({"messages": json.loads(trajectory("{}"))})
    path.write_text(f'{{"messages": [ tru\n{row}\n{row}\n')
    assert rules_of("mcpflow-trajectories", path) == ["not-json", "fine", "fine"]


def test_lines_may_all_be_broken(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(trajectory(arguments) for arguments in BAD))
    assert rules_of("mcpflow-trajectories", path) == list(BAD.values())


@pytest.mark.parametrize("layout", ["lines", "list"])
def test_memory_does_not_grow_with_the_file(tmp_path, layout):
    row = trajectory(json.dumps({"note": "x" * 4000}))
    path = tmp_path / "t.json"
    rows = [row] * 4000
    path.write_text("\n".join(rows) if layout == "lines" else f"[{', '.join(rows)}]")
    tracemalloc.start()
    count = sum(1 for _ in FORMATS["mcpflow-trajectories"].read(path, ConvertOptions()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(rows)
    assert peak < 8 << 20 < path.stat().st_size


def case(row_id: str, question: str = "Pay.") -> str:
    asked = [[{"role": "user", "content": question}]]
    return json.dumps({"id": row_id, "question": asked, "function": [TOOL]})


def answer(row_id: str, arguments: str = '{"sum": [1]}') -> str:
    return f'{{"id": "{row_id}", "ground_truth": [{{"pay": {arguments}}}]}}'


def bfcl_rules(folder, questions, answers):
    (folder / "q.json").write_text("\n".join(questions))
    (folder / "possible_answer").mkdir()
    (folder / "possible_answer" / "q.json").write_text("\n".join(answers))
    return rules_of("bfcl", folder / "q.json")


@pytest.mark.parametrize("arguments", [bad for bad in BAD if bad.endswith("}")])
def test_an_answer_that_json_cannot_hold_rejects_its_case(tmp_path, arguments):
    answers = [answer("a"), answer("b", arguments), answer("c")]
    assert bfcl_rules(tmp_path, [case("a"), case("b"), case("c")], answers) == ["fine", BAD[arguments], "fine"]


def test_an_answer_that_is_no_json_is_named_by_the_case_without_one(tmp_path):
    found = bfcl_rules(tmp_path, [case("a"), case("b")], [answer("a"), '{"id": "b", "ground'])
    assert found == ["fine", "no-answer"]
    last = list(FORMATS["bfcl"].read(tmp_path / "q.json", ConvertOptions()))[-1].value
    assert "line 2 of q.json" in last.reason


def test_ids_that_come_twice_are_not_joined_by_guess(tmp_path):
    questions = [case("a", "Pay 1."), case("b"), case("a", "Pay 2.")]
    assert bfcl_rules(tmp_path, questions, [answer("a"), answer("b")]) == ["structure", "fine", "structure"]


def test_answers_that_differ_for_one_id_reject_its_case(tmp_path):
    answers = [answer("a"), answer("a", '{"sum": [2]}'), answer("b"), answer("b")]
    assert bfcl_rules(tmp_path, [case("a"), case("b")], answers) == ["structure", "fine"]


def test_a_folder_of_cases_takes_its_answers_for_no_cases(tmp_path):
    case = {"id": "a_1", "question": [[{"role": "user", "content": "q"}]], "function": [
        {"name": "f", "description": "d", "parameters": {"type": "dict", "properties": {"x": {"type": "integer"}}}}
    ]}  # fmt: skip
    folder = tmp_path / "bfcl"
    (folder / "possible_answer").mkdir(parents=True)
    (folder / "b.json").write_text(json.dumps(case) + "\n")
    (folder / "possible_answer" / "b.json").write_text('{"id": "a_1", "ground_truth": [{"f": {"x": [1]}}]}\n')
    report = prepare(Request((str(folder),), tmp_path / "o", "x"))
    assert (report.rows_in, report.rows_out) == (1, 1)
    assert "answers" in json.dumps(report.to_json())
