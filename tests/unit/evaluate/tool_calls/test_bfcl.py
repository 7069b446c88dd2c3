"""BFCL's simple cases: its own answers score 100 %, and every mutated one is caught."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import DataError
from lfwrap.evaluate.evaluate import Material, score_answers
from lfwrap.evaluate.tool_calls.bfcl import BfclSuite, load_bfcl

NUMBER = {"type": "integer", "description": "d"}
CASES = [
    ("math.factorial", {"number": NUMBER}, ["number"], {"number": [5]}),
    ("area", {"base": NUMBER, "unit": {"type": "string"}}, ["base"], {"base": [10], "unit": ["cm", "centimetre", ""]}),
    ("mean", {"values": {"type": "array", "items": {"type": "float"}}}, ["values"], {"values": [[1.5, 2.5]]}),
    ("find", {"where": {"type": "dict", "properties": {"city": {"type": "string"}}}}, ["where"],
     {"where": [{"city": ["New York", "NYC"]}]}),
    ("set", {"on": {"type": "boolean"}, "rate": {"type": "float"}}, ["on"], {"on": [True], "rate": [0.5, ""]}),
]  # fmt: skip


def write_cases(folder: Path, published: bool = False) -> Path:
    """Cases as BFCL has them, with the answers beside them or in the folder that it publishes."""
    questions, truths = [], []
    for number, (name, properties, required, values) in enumerate(CASES):
        function = {
            "name": name,
            "description": "d",
            "parameters": {"type": "dict", "properties": properties, "required": required},
        }
        key = f"simple_python_{number}"
        questions.append(
            {"id": key, "question": [[{"role": "user", "content": f"call {name}"}]], "function": [function]}
        )
        truths.append({"id": key, "ground_truth": [{name: values}]})
    stem = "BFCL_v4_simple_python"
    where = folder / "possible_answer" / f"{stem}.json" if published else folder / f"{stem}.possible_answer.json"
    where.parent.mkdir(exist_ok=True)
    (folder / f"{stem}.json").write_text("".join(json.dumps(row) + "\n" for row in questions))
    where.write_text("".join(json.dumps(row) + "\n" for row in truths))
    return folder


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> BfclSuite:
    return load_bfcl(write_cases(tmp_path_factory.mktemp("bfcl")), "qwen")


def scored(suite: BfclSuite, texts: dict[str, str]) -> float:
    return score_answers(texts, Material("bfcl", "", (), suite.cases))["ast_accuracy"]


def known(suite: BfclSuite) -> dict[str, dict]:
    return {
        case.key: {"name": case.expected[0].name, "arguments": dict(case.expected[0].arguments)} for case in suite.cases
    }


@pytest.mark.parametrize("published", [False, True])
def test_the_known_answers_score_all(tmp_path, published):
    suite = load_bfcl(write_cases(tmp_path, published), "qwen")
    assert len(suite.cases) == len(CASES)
    assert scored(suite, {key: json.dumps(call) for key, call in known(suite).items()}) == 1.0


def test_no_answers_score_nothing(suite):
    assert scored(suite, {}) == 0.0


@given(data=st.data())
def test_a_mutated_answer_is_caught(suite, data):
    """Whichever case, whichever mutation: exactly that case is wrong."""
    calls = known(suite)
    key = data.draw(st.sampled_from(sorted(calls)))
    call = calls[key]
    argument = data.draw(st.sampled_from(sorted(call["arguments"])))
    kind = data.draw(st.sampled_from(["name", "drop", "add", "value", "type", "twice", "text"]))
    calls[key] = mutated(call, argument, kind, data)
    texts = {one: answer if isinstance(answer, str) else json.dumps(answer) for one, answer in calls.items()}
    assert scored(suite, texts) == pytest.approx(1 - 1 / len(calls))


def mutated(call: dict, argument: str, kind: str, data: st.DataObject):
    arguments = dict(call["arguments"])
    if kind == "name":
        return call | {"name": call["name"] + data.draw(st.sampled_from(["_", "x", "2"]))}
    if kind == "twice":
        return [call, call]
    if kind == "text":
        return f"I would call {call['name']}."
    if kind == "drop":
        required = next(iter(arguments))  # the first of each case is required
        return call | {"arguments": {name: value for name, value in arguments.items() if name != required}}
    if kind == "add":
        return call | {"arguments": arguments | {"bogus": data.draw(st.integers())}}
    return call | {"arguments": arguments | {argument: spoilt(arguments[argument], kind)}}


def spoilt(value, kind: str):
    if kind == "type":
        return [value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + " and more"
    return {"city": "Boston"} if isinstance(value, dict) else value[::-1]


def test_dots_become_underscores_where_the_template_can_not_read_them(tmp_path):
    suite = load_bfcl(write_cases(tmp_path), "smollm2")
    assert suite.cases[0].offered == {"math_factorial"}
    assert '"math_factorial"' in suite.cases[0].question.tools
    assert scored(suite, {key: json.dumps(call) for key, call in known(suite).items()}) == 1.0


def test_a_case_without_an_answer_is_left_out_and_said(tmp_path):
    folder = write_cases(tmp_path)
    answers = folder / "BFCL_v4_simple_python.possible_answer.json"
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[1:]))
    suite = load_bfcl(folder, "qwen")
    assert len(suite.cases) == len(CASES) - 1
    assert "no accepted answer" in suite.left_out["simple_python_0"]


@pytest.mark.parametrize("what", ["questions", "answers"])
def test_missing_files_are_errors(tmp_path, what):
    if what == "answers":
        folder = write_cases(tmp_path)
        (folder / "BFCL_v4_simple_python.possible_answer.json").unlink()
    with pytest.raises(DataError, match="no accepted answers beside it" if what == "answers" else "no BFCL_v"):
        load_bfcl(tmp_path, "qwen")


def test_a_required_argument_is_expected_even_where_the_answers_say_it_may_be_left_out(tmp_path, monkeypatch):
    """Case simple_python_200 as published: the checker demands the argument all the same."""
    case = ("emit", {"km": NUMBER, "rate": {"type": "float"}}, ["km", "rate"], {"km": [5], "rate": ["", 25.0]})
    monkeypatch.setattr(sys.modules[__name__], "CASES", [case])
    suite = load_bfcl(write_cases(tmp_path), "qwen")
    assert known(suite) == {"simple_python_0": {"name": "emit", "arguments": {"km": 5, "rate": 25.0}}}
    assert scored(suite, {key: json.dumps(call) for key, call in known(suite).items()}) == 1.0
