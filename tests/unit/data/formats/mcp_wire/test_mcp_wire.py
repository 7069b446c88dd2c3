"""MCP logs: every published version, ids of all kinds, replies out of order, and instructions that join them."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.mcp_wire.wire_log import read_wire, sniff_wire
from lfwrap.errors import DataError

TOOL = {
    "name": "get",
    "description": "d",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "title": "T",
    "outputSchema": {},
}


def request(number, method, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def reply(number, **result):
    return {"jsonrpc": "2.0", "id": number, "result": result}


def called(number, city="Rome"):
    return request(number, "tools/call", name="get", arguments={"city": city})


def text(number, said):
    return reply(number, content=[{"type": "text", "text": said}])


def initialised(version):
    return [
        request(0, "initialize", protocolVersion=version),
        reply(0, protocolVersion=version, serverInfo={"name": "weather", "version": "1"}),
    ]


LISTED = [request(1, "tools/list"), reply(1, tools=[TOOL])]
META = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
SESSIONS = {
    "2024-11-05": [*initialised("2024-11-05"), *LISTED, called(2), text(2, "15")],
    "2025-03-26": [*initialised("2025-03-26"), [*LISTED[:1], called(2)], [text(2, "15"), LISTED[1]]],
    "2025-06-18": [
        *initialised("2025-06-18"),
        *LISTED,
        called("a"),
        reply("a", content=[], structuredContent={"t": "晴"}),
    ],
    "2025-11-25": [*initialised("2025-11-25"), *LISTED, called(2), text(2, "15")],
    "2026-07-28": [
        request(1, "tools/list", **META),
        reply(1, resultType="complete", tools=[TOOL], ttlMs=1),
        request(2, "tools/call", name="get", arguments={"city": "Rome"}, **META),
        reply(2, resultType="input_required", inputRequests={"x": {}}, requestState="s"),
        request(
            3, "tools/call", name="get", arguments={"city": "Rome"}, inputResponses={"x": {}}, requestState="s", **META
        ),
        reply(3, resultType="complete", content=[{"type": "text", "text": "15"}]),
    ],
}


def lines(messages):
    return [json.dumps(message, ensure_ascii=False) for message in messages]


@pytest.mark.parametrize("version", SESSIONS)
def test_every_version_gives_its_tools_and_its_call(version):
    log = read_wire(lines(SESSIONS[version]))
    assert log.versions == {"session": version}
    assert list(log.tools["session"]) == ["get"]
    (call,) = log.calls
    assert (call.name, call.arguments) == ("get", {"city": "Rome"})
    assert call.result.get("resultType", "complete") == "complete"
    assert call.answered_line > 0


def test_a_call_that_asked_for_input_is_known_by_both_ids():
    log = read_wire(lines(SESSIONS["2026-07-28"]))
    assert log.calls[0].ids == ("3", "2")
    assert log.skipped == {"answered by input_required": 1}


def test_replies_out_of_order_and_ids_as_text():
    messages = [*LISTED, called("7", "a"), called(7, "b"), called(8, "c"), text(8, "C"), text("7", "A"), text(7, "B")]
    log = read_wire(lines([message for message in messages if message["id"] != 7 or isinstance(message["id"], str)]))
    assert [(call.arguments["city"], call.result["content"][0]["text"]) for call in log.calls] == [
        ("a", "A"),
        ("c", "C"),
    ]


def test_both_sides_number_their_requests():
    sampling = {"jsonrpc": "2.0", "id": 2, "method": "sampling/createMessage", "params": {}}
    answered = reply(2, role="assistant", content={"type": "text", "text": "x"}, model="m")
    log = read_wire(lines([*LISTED, called(2), sampling, answered, text(2, "15")]))
    assert log.calls[0].result["content"] == [{"type": "text", "text": "15"}]


def test_pages_and_a_new_list():
    other = {**TOOL, "name": "other"}
    pages = [
        request(1, "tools/list"),
        reply(1, tools=[TOOL], nextCursor="p2"),
        request(2, "tools/list", cursor="p2"),
        reply(2, tools=[other]),
    ]
    assert list(read_wire(lines(pages)).tools["session"]) == ["get", "other"]
    again = [*pages, request(3, "tools/list"), reply(3, tools=[other])]
    assert list(read_wire(lines(again)).tools["session"]) == ["other"]


def test_a_restart_forgets_open_requests():
    log = read_wire(lines([called(2, "lost"), *initialised("2025-06-18"), *LISTED, called(2, "kept"), text(2, "x")]))
    assert [(call.arguments["city"], call.result is not None) for call in log.calls] == [
        ("lost", False),
        ("kept", True),
    ]


def test_desktop_logs_tell_servers_apart_and_skip_what_is_no_message():
    def line(server, sender, message):
        said = message if isinstance(message, str) else f"Message from {sender}: {json.dumps(message)}"
        return f"2025-06-13T14:44:29.945Z [info] [{server}] {said}"

    log = read_wire(
        [
            line("a", "", "Initializing server..."),
            line("a", "client", called(1, "x")),
            line("b", "client", called(1, "y")),
            line("b", "server", text(1, "Y")),
            line("a", "server", text(1, "X")),
            line("a", "server", text(9, "late")),
            '2025-06-13T14:44:29.945Z [info] [a] Message from client: {"jsonrpc": cut off',
            "    at stack trace",
        ]
    )
    assert [(call.session, call.result["content"][0]["text"]) for call in log.calls] == [("a", "X"), ("b", "Y")]
    assert log.skipped == {"not a message": 1}
    assert [(lost.line, lost.problem.rule) for lost in log.lost] == [(6, "unmatched-result"), (7, "not-json")]


def test_records_around_messages():
    wrapped = [{"timestamp": 1, "server": "s", "message": message} for message in (called(1), text(1, "x"))]
    assert read_wire(lines(wrapped)).calls[0].session == "s"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('{"jsonrpc": "2.0", "id": 1}', True),
        ('\n{"message": {"jsonrpc": "2.0", "id": 1}}', True),
        ('2025-06-13T14:44:29.945Z [info] [w] Message from client: {"jsonrpc": "2.0"}', True),
        ("2025-06-13T14:44:29.945Z [info] [w] started", False),
        ('{"instruction": "what is jsonrpc 2.0?", "output": "{\\"jsonrpc\\": \\"2.0\\"}"}', False),
        ("question,answer\n", False),
        ("", False),
    ],
)
def test_sniffing(head, expected):
    assert (sniff_wire(head) is not None) is expected


def joined(tmp_path, messages, instructions):
    log, wanted = tmp_path / "session.jsonl", tmp_path / "instructions.jsonl"
    log.write_text("\n".join(lines(messages)), encoding="utf-8")
    wanted.write_text("\n".join(lines(instructions)), encoding="utf-8")
    options = ConvertOptions(instructions=wanted)
    outcomes = []
    for record in FORMATS["mcp-wire"].read(log, options):
        try:
            outcomes.append((record.line, FORMATS["mcp-wire"].convert(record.value, options, RowNotes())))
        except Reject as reject:
            outcomes.append((record.line, reject.rule))
    return outcomes


def test_instructions_join_calls_by_id_overlapping_ones_in_one_turn(tmp_path):
    messages = [*LISTED, called(2, "a"), called(3, "b"), text(3, "B"), text(2, "A"), called(4, "c"), text(4, "C")]
    ((line, found),) = joined(tmp_path, messages, [{"ids": [2, 3, 4], "instruction": "go", "final_response": "done"}])
    assert line == 3
    assert [len(message.calls) for message in found.messages] == [0, 2, 0, 0, 1, 0, 0]
    assert [message.text for message in found.messages] == ["go", "", "A", "B", "", "C", "done"]
    assert [tool.name for tool in found.tools] == ["get"]


def test_without_ids_instructions_take_the_calls_in_order(tmp_path):
    messages = [*LISTED, called(2, "a"), text(2, "A"), called(3, "b"), text(3, "B")]
    outcomes = joined(tmp_path, messages, [{"instruction": "first"}])
    assert outcomes[0][1].messages[1].calls[0].arguments == {"city": "a"}
    assert outcomes[1] == (5, "needs-instructions")


def test_an_error_is_a_result_and_an_unknown_id_a_reject(tmp_path):
    failed = {"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "Unknown tool"}}
    instructions = [{"id": 2, "instruction": "go", "output": "sorry"}, {"id": 9, "instruction": "none"}]
    outcomes = joined(tmp_path, [*LISTED, called(2), failed], instructions)
    told = outcomes[0][1].messages[2]
    assert (told.text, told.is_error) == ("Unknown tool", True)
    assert outcomes[1][1] == "unmatched-result"


def test_instructions_that_cannot_be_used_are_all_named(tmp_path):
    with pytest.raises(DataError) as caught:
        joined(tmp_path, [called(1)], [{"id": 1}, {"instruction": "fine"}, []])
    assert [finding.line for finding in caught.value.findings] == [1, 3]
