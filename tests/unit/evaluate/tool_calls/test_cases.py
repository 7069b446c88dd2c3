"""Cases from rows, and the tools that a training saw."""

from __future__ import annotations

import dataclasses
import json

from lfwrap.data.schema.conversation import ToolCall
from lfwrap.evaluate.tool_calls.cases import CaseKind, sample_cases, seen_tools, tool_cases
from lfwrap.files import sha256_file, write_json
from lfwrap.inference.held_out_rows import EvalRow
from lfwrap.run.folder.record import load_run, save_record

TOOLS = json.dumps([{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")])


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ROW = EvalRow(
    7,
    (
        turn("user", "?"),
        turn("function", '[{"name":"a","arguments":{"n":1}},{"name":"b","arguments":{}}]'),
        turn("observation", "[]"),
        turn("function", '<think>\nhm\n</think>\n\nI look again.\n<tool_call>{"name":"a","arguments":{}}</tool_call>'),
        turn("observation", "4"),
        turn("assistant", "It is 4."),
    ),
    "be exact",
    TOOLS,
)


def test_every_answer_of_a_row_with_tools_is_a_case_with_its_history():
    cases = tool_cases([EvalRow(1, ROW.messages), ROW])
    assert [case.key for case in cases] == ["7.2", "7.4", "7.6"]
    assert [case.question.id for case in cases] == [0, 1, 2]
    assert [case.kind for case in cases] == [CaseKind.PARALLEL, CaseKind.SINGLE, CaseKind.NO_CALL]
    assert cases[1].expected == (ToolCall("a", {}),)
    assert cases[1].question.messages == ROW.messages[:3]
    assert (cases[2].question.system, cases[2].question.tools) == ("be exact", TOOLS)
    assert cases[0].offered == {"a", "b"}
    assert cases[2].question.reference == "It is 4."


def test_a_call_that_can_not_be_read_expects_nothing():
    broken = dataclasses.replace(ROW, messages=(turn("user", "?"), turn("function", '{"name": "a"')))
    assert tool_cases([broken]) == []


def test_cases_are_drawn_with_a_seed_and_keep_their_order():
    cases = [dataclasses.replace(case, key=str(number)) for number, case in enumerate(tool_cases([ROW] * 10))]
    drawn = sample_cases(cases, 5, seed=3)
    assert drawn == sample_cases(cases, 5, seed=3)
    assert [int(case.key) for case in drawn] == sorted(int(case.key) for case in drawn)
    assert len({case.key for case in drawn}) == 5
    assert sample_cases(cases, 99, seed=3) == tuple(cases)


def trained_on(build, text: str):
    """A run on one set of rows."""
    paths = build.run("base")
    folder = build.root / "data"
    folder.mkdir()
    (folder / "calls.jsonl").write_text(text, encoding="utf-8")
    entry = {
        "file_name": "calls.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"},
    }
    (folder / "dataset_info.json").write_text(json.dumps({"calls": entry}), encoding="utf-8")
    run = load_run(paths.root)
    record = dataclasses.replace(run.record, datasets=("calls",), dataset_dir=str(folder))
    files = {"dataset:calls": {"path": str(folder / "calls.jsonl"), "sha256": sha256_file(folder / "calls.jsonl")}}
    write_json(paths.inputs, {"files": files})
    return save_record(paths, record), folder / "calls.jsonl"


def test_seen_tools_are_those_that_training_called(build):
    rows = [
        {"conversations": [{"from": "human", "value": "?"}, {"from": "function_call", "value": value}], "tools": TOOLS}
        for value in ('{"name":"a","arguments":{}}', '[{"name":"c","arguments":{}},{"name":"a","arguments":{}}]')
    ]
    run, path = trained_on(build, "".join(json.dumps(row) + "\n" for row in rows))
    seen = seen_tools([run])
    assert (seen.names, seen.notes) == ({"a", "c"}, ())
    path.write_text(path.read_text(encoding="utf-8") + json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert "has changed since" in " ".join(seen_tools([run]).notes)


def test_training_data_that_is_gone_makes_no_split_and_says_so(build):
    run, path = trained_on(build, "")
    path.unlink()
    seen = seen_tools([run])
    assert seen.names is None
    assert "which tools it saw is not known" in seen.notes[0]
