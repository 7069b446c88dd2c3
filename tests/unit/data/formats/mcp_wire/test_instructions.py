"""The file of instructions: every row is used, or it is said why not; no answer vanishes."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.mcp_wire.instructions import load_instructions
from lfwrap.data.schema.conversation import Tool
from lfwrap.errors import DataError

WIRE = FORMATS["mcp-wire"]


def line(server, sender, message):
    return f"2025-06-13T14:44:29.945Z [info] [{server}] Message from {sender}: {json.dumps(message)}"


def listed(server, names=("get",)):
    tools = [{"name": name, "inputSchema": {"type": "object"}, "annotations": {"x": 1}} for name in names]
    return [
        line(server, "client", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        line(server, "server", {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}),
    ]


def call(server, number, city, **more):
    params = {"name": "get", "arguments": {"city": city}, **more}
    return line(server, "client", {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def reply(server, number, said, **more):
    result = {"content": [{"type": "text", "text": said}], **more}
    return line(server, "server", {"jsonrpc": "2.0", "id": number, "result": result})


def begun(server):
    return [line(server, "client", {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})]


def outcomes(folder, log, instructions, **options):
    (folder / "mcp.log").write_text("\n".join(log), encoding="utf-8")
    wanted = folder / "asked.jsonl"
    wanted.write_text("\n".join(map(json.dumps, instructions)), encoding="utf-8")
    given = ConvertOptions(instructions=wanted, **options)
    found = []
    for record in WIRE.read(folder / "mcp.log", given):
        notes = RowNotes()
        try:
            conversation = WIRE.convert(record.value, given, notes)
        except Reject as reject:
            found.append((reject.rule, reject.reason))
        else:
            found.append(
                ([message.text or message.calls[0].arguments["city"] for message in conversation.messages], notes)
            )
    return found


AB = [*listed("a"), *listed("b"), call("a", 2, "Rome"), call("b", 2, "Oslo"), reply("b", 2, "3"), reply("a", 2, "15")]


def test_an_id_of_two_servers_is_no_ones_until_the_server_is_named(tmp_path):
    first, *_ = outcomes(tmp_path, AB, [{"id": 2, "instruction": "?"}])
    assert first[0] == "unmatched-result"
    assert "lines 5, 6" in first[1]
    asked = [{"session": "b", "id": 2, "instruction": "B?"}, {"server": "a", "id": 2, "instruction": "A?"}]
    found = outcomes(tmp_path, AB, asked)
    assert [texts for texts, _ in found] == [["B?", "Oslo"], ["A?", "Rome"]]


def test_a_session_that_began_anew(tmp_path):
    log = [*begun("a"), *listed("a"), call("a", 2, "Rome"), reply("a", 2, "15"),
           *begun("a"), call("a", 2, "Oslo"), reply("a", 2, "3")]  # fmt: skip
    one = outcomes(tmp_path, log, [{"session": "a", "id": 2, "instruction": "?"}])
    assert one[0][0] == "unmatched-result"
    assert "'line'" in one[0][1]
    two = [
        {"session": "a", "id": 2, "instruction": "A?", "output": "15."},
        {"session": "a", "id": 2, "instruction": "B?"},
    ]
    assert [texts for texts, _ in outcomes(tmp_path, log, two)] == [["A?", "Rome", "15", "15."], ["B?", "Oslo"]]
    by_line = [{"line": 7, "instruction": "B?"}, {"lines": [4], "instruction": "A?"}]
    assert [texts for texts, _ in outcomes(tmp_path, log, by_line)] == [["B?", "Oslo"], ["A?", "Rome"]]


def test_instructions_that_name_calls_come_before_those_that_take_the_next(tmp_path):
    log = [*listed("a"), call("a", 2, "Rome"), reply("a", 2, "15"), call("a", 3, "Oslo"), reply("a", 3, "3")]
    found = outcomes(tmp_path, log, [{"instruction": "next?"}, {"id": 2, "instruction": "named?"}])
    assert [texts for texts, _ in found] == [["next?", "Oslo"], ["named?", "Rome"]]


@pytest.mark.parametrize(
    "log",
    [
        [*listed("a"), call("a", 2, "Rome")],
        [*listed("a"), call("a", 2, "Rome"), reply("a", 3, "15")],
        [*listed("a"), call("a", 2, "Rome"), call("a", 3, "Oslo"), reply("b", 2, "15")],
        [*listed("a"), call("a", 2, "Rome"),
         line("a", "client", {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}),
         reply("a", 2, "15")],
    ],
)  # fmt: skip
def test_a_final_response_without_a_result_before_it_is_refused(tmp_path, log):
    rule, reason = outcomes(tmp_path, log, [{"session": "a", "id": 2, "instruction": "?", "final_response": "15."}])[0]
    assert rule == "unmatched-result"
    assert "final response" in reason
    assert "line 3" in reason


def test_without_a_final_response_the_row_ends_with_the_call(tmp_path):
    texts, notes = outcomes(tmp_path, [*listed("a"), call("a", 2, "Rome")], [{"id": 2, "instruction": "?"}])[0]
    assert texts == ["?", "Rome"]
    assert [rule for rule, _ in notes.warnings] == ["missing-result"]


def test_a_call_in_the_middle_without_a_result_is_refused(tmp_path):
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
    log = [*listed("a"), call("a", 2, "Rome"), line("a", "client", cancelled), call("a", 3, "Oslo"), reply("a", 3, "3")]
    rule, reason = outcomes(tmp_path, log, [{"ids": [2, 3], "instruction": "?", "answer": "3."}])[0]
    assert rule == "unmatched-result"
    assert "cancelled in line 4" in reason


def test_one_of_two_parallel_calls_without_a_result_is_warned_of_and_the_answer_stays(tmp_path):
    log = [*listed("a"), call("a", 2, "Rome"), call("a", 3, "Oslo"), reply("a", 3, "3")]
    texts, notes = outcomes(tmp_path, log, [{"ids": [2, 3], "instruction": "?", "answer": "3."}])[0]
    assert texts == ["?", "Rome", "3", "3."]
    assert [rule for rule, _ in notes.warnings] == ["missing-result"]


def test_tools_that_the_log_never_lists_are_named_or_come_from_outside(tmp_path):
    log = [call("a", 2, "Rome"), reply("a", 2, "15")]
    rule, reason = outcomes(tmp_path, log, [{"id": 2, "instruction": "?"}])[0]
    assert rule == "undeclared-tool"
    assert "--tools" in reason
    texts, _ = outcomes(tmp_path, log, [{"id": 2, "instruction": "?"}], tools={"get": Tool("get")})[0]
    assert texts == ["?", "Rome"]


def test_whatever_is_not_used_is_named_by_place(tmp_path):
    log = [*listed("a"), call("a", 2, "Rome", _meta={"progressToken": 1}),
           reply("a", 2, "15", structuredContent={"t": 15}, _meta={"x": 1})]  # fmt: skip
    _, notes = outcomes(tmp_path, log, [{"id": 2, "instruction": "?", "note": "mine", "answer": "15."}])[0]
    assert set(notes.left()) == {
        "instruction.note",
        "request.params._meta",
        "result.structuredContent",
        "result._meta",
        "tools[].annotations",
    }


def test_a_result_that_is_none_of_mcps_is_refused(tmp_path):
    result = {"jsonrpc": "2.0", "id": 2, "result": {"temperature": 15}}
    log = [*listed("a"), call("a", 2, "Rome"), line("a", "server", result)]
    assert outcomes(tmp_path, log, [{"id": 2, "instruction": "?"}])[0][0] == "structure"


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ({"label": False}, "labelled-bad"),
        ({"rating": "bad"}, "labelled-bad"),
        ({"weight": 0}, "weighted-row"),
        ({"images": ["a.png"]}, "media"),
        ({"rejected": "16."}, "preference"),
        ({"split": "test"}, "held-out"),
        ({"finish_reason": "length"}, "cut-answer"),
        ({"metadata": {"is_correct": False}}, "labelled-bad"),
    ],
)
def test_what_an_instruction_says_of_the_training_is_heeded(tmp_path, field, rule):
    (tmp_path / "i.jsonl").write_text(json.dumps({"id": 2, "instruction": "?", "answer": "15.", **field}), "utf-8")
    log = [*listed("a"), call("a", 2, "Rome"), reply("a", 2, "15")]
    (tmp_path / "mcp.log").write_text("\n".join(log), "utf-8")
    given = ConvertOptions(instructions=tmp_path / "i.jsonl")
    (record,) = WIRE.read(tmp_path / "mcp.log", given)
    with pytest.raises(Reject) as caught:
        convert_record(record.value, Conversion("mcp-wire", given), RowNotes())
    assert caught.value.rule == rule
    ignoring = ConvertOptions(ignore=frozenset(field))
    convert_record(record.value, Conversion("mcp-wire", ignoring), RowNotes())


def over_logs(folder, logs, instructions):
    """Log → what became of each of its records, as in one preparation of all of them."""
    for name, log in logs.items():
        (folder / name).write_text("\n".join(log), encoding="utf-8")
    wanted = folder / "asked.jsonl"
    wanted.write_text("\n".join(map(json.dumps, instructions)), encoding="utf-8")
    options = ConvertOptions(instructions=wanted, sources=tuple(str(folder / name) for name in logs))
    found = {}
    for name in logs:
        found[name] = []
        for record in WIRE.read(folder / name, options):
            try:
                conversation = WIRE.convert(record.value, options, RowNotes())
            except Reject as reject:
                found[name].append(reject.rule)
            else:
                found[name].append(conversation.messages[0].text)
    return found


TWO = {
    "mcp-server-a.log": [*listed("a"), call("a", 2, "Rome"), reply("a", 2, "15")],
    "mcp-server-b.log": [
        *listed("b"), call("b", 2, "Oslo"), reply("b", 2, "3"), call("b", 3, "Bonn"), reply("b", 3, "9"),
    ],
}  # fmt: skip


def test_each_instruction_is_used_in_one_of_several_logs(tmp_path):
    asked = [{"session": "b", "id": 2, "instruction": "B?"}, {"session": "a", "instruction": "A?"}]
    asked.append({"id": 3, "instruction": "C?"})
    assert over_logs(tmp_path, TWO, asked) == {"mcp-server-a.log": ["A?"], "mcp-server-b.log": ["B?", "C?"]}


def test_what_could_be_in_either_log_is_refused_once(tmp_path):
    asked = [{"id": 2, "instruction": "?"}, {"instruction": "next?"}, {"id": 9, "instruction": "!"}]
    assert over_logs(tmp_path, TWO, asked) == {
        "mcp-server-a.log": ["needs-instructions"],
        "mcp-server-b.log": ["unmatched-result"] * 3 + ["needs-instructions"] * 2,
    }


def test_a_clients_common_log_and_the_servers_own_count_once(tmp_path):
    own = TWO["mcp-server-b.log"]
    common = {"mcp-server-b.log": own, "mcp.log": [*TWO["mcp-server-a.log"], *own]}
    asked = [{"session": "b", "ids": [2, 3], "instruction": "B?"}, {"session": "a", "id": 2, "instruction": "A?"}]
    assert over_logs(tmp_path, common, asked) == {"mcp-server-b.log": ["B?"], "mcp.log": ["A?"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"id": 1}', "instruction"),
        ("[1]", "instruction"),
        ('{"instruction": "?", "instruction": "!"}', "twice"),
        ('{"instruction": "?", "id": NaN}', "NaN"),
        ('{"instruction": "?"', "not valid JSON"),
        ('{"instruction": "?", "ids": []}', "ids"),
        ('{"instruction": "?", "ids": [1, 1]}', "twice"),
        ('{"instruction": "?", "id": 1, "ids": [2]}', "differ"),
        ('{"instruction": "?", "id": {"a": 1}}', "ids"),
        ('{"instruction": "?", "id": 1, "line": 2}', "both"),
        ('{"instruction": "?", "final_response": 15}', "text"),
        ('{"instruction": "?", "output": "a", "answer": "b"}', "output and answer"),
    ],
)
def test_rows_that_cannot_be_used_are_named_with_their_line(tmp_path, text, words):
    path = tmp_path / "asked.jsonl"
    path.write_text(f'{{"instruction": "fine\u2028"}}\n\n{text}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_instructions(path)
    assert [finding.line for finding in caught.value.findings] == [3]
    assert words in caught.value.findings[0].message


def test_a_list_of_instructions_is_read_too(tmp_path):
    path = tmp_path / "asked.json"
    path.write_text(json.dumps([{"instruction": "a", "output": None}, {"instruction": "b", "ids": ["x", 2]}], indent=1))
    assert [(each.text, each.ids) for each in load_instructions(path)] == [("a", ()), ("b", ("x", "2"))]
