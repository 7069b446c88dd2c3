"""The messages of a log, however a client wrote them."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.formats.mcp_wire.wire_lines import log_pieces

CALL = {"method": "tools/call", "params": {"name": "get", "arguments": {"a": "x{[\"'"}}, "jsonrpc": "2.0", "id": 2}
ONE = json.dumps(CALL)
TIME = "2025-06-13T14:44:29.945Z [info] [notes] "


def values(text):
    return [piece.value for piece in log_pieces(text.split("\n")) if piece.value is not None]


def broken(text):
    return [(piece.line, piece.problem.rule) for piece in log_pieces(text.split("\n")) if piece.value is None
            and piece.problem]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        f"{TIME}Message from client: {ONE}",
        f"{TIME}Message from client: {ONE} {{ metadata: undefined }}",
        f"{TIME}Message from client: {ONE} {{\n  metadata: {{\n    args: [\n      '-y',\n    ]\n  }}\n}} %o",
        f'{TIME}Message from client: {ONE} {{"metadata": {{}}}}',
        f"{TIME}Message from client: {ONE} undefined",
        f"{TIME}Message from client: {ONE},",
        f"\x1b[32m{TIME}\x1b[0mMessage from client: \x1b[36m{ONE}\x1b[39m",
        "\ufeff" + ONE + "\r",
        f"Content-Length: {len(ONE)}\r\n\r\n{ONE}",
        f"event: message\ndata: {ONE}\n",
        f"weather-1  | {ONE}",
        f"INFO mcp {{'a': 1}} {ONE}",
        f'INFO ctx={{"a": 1}} msg={ONE}',
        f"[4711] [12345] >>> {ONE}",
        "-->\n" + json.dumps(CALL, indent=2),
        f"{TIME}Message from client:\n" + json.dumps(CALL, indent="\t"),
        f"{TIME}Message from client: " + json.dumps(CALL, indent=4) + " { metadata: undefined }\nnext",
        json.dumps(CALL, indent=2).replace("\n", "\n\n"),
        "Server {\n  started: true\n}\n" + ONE,
        "npm warn {\n" + ONE,
    ],
)
def test_a_message_is_found_once(text):
    assert [value for value in values(text) if isinstance(value, dict) and "jsonrpc" in value] == [CALL]
    assert broken(text) == []


LINES = {"jsonrpc": "2.0", "id": 2, "result": {"content": [{"type": "text", "text": 'a\nb\\n "北京" it\'s'}]}}


@pytest.mark.parametrize(
    "printed",
    [
        json.dumps(json.dumps(LINES)),
        json.dumps(json.dumps(LINES, ensure_ascii=False), ensure_ascii=False) + " more",
        repr(json.dumps(LINES).encode()),
        repr((json.dumps(LINES, ensure_ascii=False) + "\n").encode()) + ")",
        f"msg={json.dumps(json.dumps([LINES]))} level=info",
    ],
)
def test_a_message_in_quotes_is_read_through_its_escapes(printed):
    found = values(f"{TIME}Received: {printed}")
    assert found in ([LINES], [[LINES]])


def test_quotes_around_plain_json():
    assert values(f"echo '{ONE.replace(chr(39), '')}' | server") == [json.loads(ONE.replace("'", ""))]


@pytest.mark.parametrize(
    "text",
    [
        """recv '{"jsonrpc":"2.0","id":2,"result":{"text":"a\\\\nb"}}'""",
        r'recv "{\"jsonrpc\":\"2.0\",\"id\":2,',
        r'recv "{\"jsonrpc\":\"2.0\",\"id\":NaN}"',
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(text):
    assert broken(text) == [(1, "not-json")]


def test_several_messages_in_one_line_and_framed_ones():
    other = '{"jsonrpc": "2.0", "id": 3}'
    assert [value["id"] for value in values(f"{TIME}{ONE}{other} {ONE}")] == [2, 3, 2]
    framed = f"Content-Length: 9\r\n\r\n{ONE}Content-Length: 9\r\n\r\n{other}"
    assert [value["id"] for value in values(framed)] == [2, 3]


def test_a_line_above_says_who_speaks():
    text = f"10:00:01 client -> server:\n{json.dumps(CALL, indent=1)}\nserver -> client:\n{ONE}"
    assert [piece.prefix for piece in log_pieces(text.split("\n")) if piece.value] == [
        "10:00:01 client -> server:",
        "server -> client:",
    ]


def test_lists_over_several_lines():
    assert values(json.dumps([CALL, CALL], indent=2)) == [[CALL, CALL]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (ONE[:-20], 1),
        (f"started\n{TIME}Message from client: {ONE[:40]}", 2),
        (f"{TIME}Message from server: {ONE[:40]}... [truncated]", 1),
        (f"{TIME}Message from server: {{ jsonrpc: '2.0', id: 1 }}", 1),
        ("Child → SSE: { jsonrpc: '2.0', id: 1 }", 1),
        ("Child → SSE: {\n  jsonrpc: '2.0',\n  id: 1\n}", 2),
        ("DEBUG received JSONRPCRequest(method='tools/call')", 1),
        (json.dumps(CALL, indent=2)[:-20], 1),
        (json.dumps(CALL, indent=2)[:-20] + f"\n{TIME}next", 1),
        (ONE.replace('"jsonrpc": "2.0"', '"jsonrpc": "2.0" oops'), 1),
        (f'{{"ts": 1, "message": {ONE}, "x": "cut', 1),
    ],
)
def test_what_looks_like_a_message_but_is_none_is_named_once(text, line):
    assert broken(text) == [(line, "not-json")]
    assert values(text) == []


@pytest.mark.parametrize(
    "text",
    ["plain words", "{ metadata: undefined }", "stack {\n  at x\n}", "[1, 2]", '{"a": ', "jsonrpc", "[info] [a] {"],
)
def test_what_is_no_message_is_no_piece(text):
    assert values(text) == broken(text) == []


def test_after_an_open_brace_the_next_message_is_found():
    text = f"config: {{\n{TIME}Message from client: {ONE}\n}}\n{ONE}"
    assert values(text) == [CALL, CALL]


@pytest.mark.parametrize(
    "text",
    ["a.b-" * 100_000, "[" * 100_000, "{" * 100_000, '{"' * 50_000, '{"jsonrpc": "2.0", "id":' + " " * 100_000,
     "'{\"" * 50_000, '{"a": ' * 50_000, "-->" * 50_000, "\x1b[" * 50_000, ('{"a":\n') * 20_000, "{\n" * 20_000],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_no_line_takes_long_to_look_through(text):
    found = values(f"{text}\n{ONE}\n{TIME}{ONE}")
    assert found[-1] == CALL
