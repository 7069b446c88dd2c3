"""Requests and replies that could be brought together wrongly: by nobody's guess, and none lost unsaid."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.formats.mcp_wire.wire_log import read_wire

TOOLS = [{"name": "get", "inputSchema": {"type": "object"}}]


def call(number, city="Rome", **more):
    params = {"name": "get", "arguments": {"city": city}, **more}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def reply(number, said="15", **more):
    return {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": said}], **more}}


def listed(number, names=("get",)):
    tools = [{**TOOLS[0], "name": name} for name in names]
    return [
        {"jsonrpc": "2.0", "id": number, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": number, "result": {"tools": tools}},
    ]


def read(*messages):
    return read_wire([message if isinstance(message, str) else json.dumps(message) for message in messages])


def outcomes(log):
    return [
        found.problem.rule if found.problem else found.result["content"][0]["text"] if found.result else None
        for found in log.calls
    ]


def lost(log):
    return [(found.line, found.problem.rule) for found in log.lost]


def test_two_open_calls_of_one_id_get_no_reply_by_guess():
    log = read(call(1, "Rome"), call(1, "Oslo"), reply(1, "15"), reply(1, "3"))
    assert outcomes(log) == ["unmatched-result", "unmatched-result"]
    assert "lines 1, 2" in log.calls[0].problem.reason


def test_a_third_call_of_the_id_may_get_a_late_reply_to_the_first_two():
    log = read(call(1, "Rome"), call(1, "Oslo"), reply(1, "15"), call(1, "Bonn"), reply(1, "3"))
    assert outcomes(log) == ["unmatched-result"] * 3
    anew = {"jsonrpc": "2.0", "id": 0, "method": "initialize"}
    assert (
        outcomes(read(call(1, "Rome"), call(1, "Oslo"), reply(1, "15"), anew, call(1, "Bonn"), reply(1, "3")))[2] == "3"
    )


def test_an_id_used_again_after_its_reply_is_a_new_call():
    assert outcomes(read(call(1, "Rome"), reply(1, "15"), call(1, "Oslo"), reply(1, "3"))) == ["15", "3"]


def test_what_two_programs_logged_counts_once():
    log = read(call(1), call(1), reply(1), reply(1), call(2), reply(2))
    assert outcomes(log) == ["15", "15"]
    assert lost(log) == []
    assert log.skipped.total() == 2


def test_a_log_that_begins_in_the_middle_names_what_it_lacks():
    log = read(reply(7), {"jsonrpc": "2.0", "id": 8, "result": {}}, call(9), reply(9))
    assert lost(log) == [(1, "unmatched-result")]
    assert outcomes(log) == ["15"]
    assert log.offered("session", 3) is None


def test_a_list_of_tools_whose_request_came_before_the_log_counts():
    log = read(listed(1)[1], call(2), reply(2))
    assert list(log.tools["session"]) == ["get"]


def test_a_call_is_offered_what_was_listed_at_its_time():
    log = read(*listed(1, ["get", "old"]), call(2), reply(2), *listed(3, ["get", "new"]), call(4), reply(4))
    assert [list(log.offered("session", found.line).tools) for found in log.calls] == [["get", "old"], ["get", "new"]]


@pytest.mark.parametrize("number", [2, "2", 2.0])
def test_a_cancelled_call_has_no_result_even_if_one_comes_late(number):
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    log = read(call(2), cancelled, reply(2), call(3), reply(3, "x"))
    assert outcomes(log) == [None, "x"]
    assert log.calls[0].cancelled_line == 2
    assert lost(log) == []


@pytest.mark.parametrize("result", [{}, {"text": "15"}, {"_meta": {}}])
def test_a_reply_that_is_no_tools_result_spoils_its_call(result):
    log = read(call(2), {"jsonrpc": "2.0", "id": 2, "result": result})
    assert outcomes(log) == ["structure"]


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ('{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"15', "not-json"),
        ('{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"15... [truncated]', "truncated"),
        ('{"jsonrpc":"2.0","id":2,"result":{"content":[],"content":[]}}', "duplicate-key"),
        ("Child → SSE: { jsonrpc: '2.0', id: 2, result: { content: [ [Object] ] } }", "not-json"),
        ('{"jsonrpc":"2.0","id":2,"result":{"content":[],"structuredContent":{"t":NaN}}}', "not-json"),
        (
            '{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"1…[9 chars truncated]…5"}]}}',
            "truncated",
        ),
        ('{"jsonrpc":"2.0","id":2,"error":{"code":1,"message":"no...[90 bytes truncated]...pe"}}', "truncated"),
    ],
)  # fmt: skip
def test_a_reply_that_cannot_be_used_spoils_its_call(broken, rule):
    log = read(call(2), broken)
    assert outcomes(log) == [rule]
    assert "line 2" in log.calls[0].problem.reason
    assert lost(log) == []


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get","arguments":{"a":', "not-json"),
        ('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get","arguments":{"a":1e999}}}', "not-json"),
        ('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get","arguments":{"a":1,"a":2}}}',
         "duplicate-key"),
        ('{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get","arguments":{"a":"b… (truncated)"}}}',
         "truncated"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_used_is_a_call_that_says_so(broken, rule):
    log = read(broken, reply(2))
    assert outcomes(log) == [rule]
    assert (log.calls[0].ids, log.calls[0].name) == (("2",), "get")


def test_a_request_cut_before_its_id_is_named_and_so_is_its_reply():
    log = read('{"method":"tools/call","params":{"name":"get","arguments":{"a":"b... [truncated]', reply(2))
    assert lost(log) == [(1, "truncated"), (2, "unmatched-result")]


def test_a_list_of_tools_that_was_cut_is_not_offered():
    tools = [{**TOOLS[0], "description": "Gets...[12 chars truncated]...it"}]
    log = read(listed(1)[0], {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}, call(2), reply(2))
    assert log.offered("session", 3).problem.rule == "truncated"


def test_an_error_under_an_id_of_both_sides_is_nobodys():
    sampling = {"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {}}
    error = {"jsonrpc": "2.0", "id": 2, "error": {"code": -1, "message": "no"}}
    assert outcomes(read(call(2), sampling, error)) == ["unmatched-result"]
    sided = [f"client -> server: {json.dumps(call(2))}", f"server -> client: {json.dumps(sampling)}"]
    log = read(*sided, f"client -> server: {json.dumps(error)}", f"server -> client: {json.dumps(reply(2))}")
    assert outcomes(log) == ["15"]


def test_what_a_call_and_its_reply_say_beside_is_kept_by_place():
    log = read({**call(2, _meta={"progressToken": 1}), "trace": "x"}, {**reply(2), "_ts": 5})
    assert log.calls[0].unused == {
        "request": {"trace": "x"},
        "request.params": {"_meta": {"progressToken": 1}},
        "reply": {"_ts": 5},
    }
