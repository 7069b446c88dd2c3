"""What a client cut when it logged is found; what a tool says of cutting is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats.mcp_wire.wire_cuts import cut_in_broken, find_cut


@pytest.mark.parametrize(
    "text",
    [
        "begin...[8499 chars truncated]...end",
        "begin…[8,499 characters truncated]…end",
        "begin... [120 bytes omitted] ...end",
        "begin ... (1234 more characters)",
        "begin...<56 more characters>",
        "begin<56 more characters>",
        "begin... 56 more characters",
        "begin[… 56 characters truncated]",
        "begin...[truncated 8499 chars]...",
        "begin... [truncated]",
        "begin…(truncated)",
        "begin...[TRUNCATED]\n",
        "begin… [output truncated]",
        "[12 kB truncated]...end",
        "begin...(3.2 KB truncated)",
        "begin [truncated]",
        "begin<truncated>",
        "begin\n[output truncated]\n",
        "begin [TRUNCATED]",
        "begin ... +300 more",
        "begin…[+300]",
        "begin (+300 chars)",
        "begin [+2 KB]",
    ],
)
def test_marks_of_clients(text):
    assert find_cut(text)
    assert find_cut({"content": [{"type": "text", "text": text}]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The list was truncated to 100 rows.",
        "Output truncated: use offset 5000 to read on.",
        "<error>Content truncated. Call the fetch tool with a start_index of 5000.</error>",
        "[truncated] marks a text that was cut, … as does (omitted).",
        "chars: 8499 (truncated)",
        "TRUNCATE TABLE notes; -- ... 12 rows",
        "It says '... [truncated]' where a program cut a text, and goes on.",
        "... [12 lines omitted] ...",
        "Wait... (more)",
        "a[8499]...b",
        "5 more characters",
        "He got 5 more bytes (of 10).",
        "Wait ... 300 more",
        "The list [truncated] goes on.",
        "[a, b, ...] (+3)",
        "Call +49 300 (more)",
        "Temperature: ... (+30)",
        "up (+300)",
    ],
)
def test_what_tools_say_of_cutting(text):
    assert find_cut(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"abc... [truncated]',
        '{"method":"tools/call","params":{"name":"w","arguments":{"c":"abc…(truncated)"}',
        '{"jsonrpc":"2.0","id":2,"result":{"content":[{"text":"abc"}, ... 3 more items]}}',
        '{"jsonrpc":"2.0","id":2,"result":"abc...[12 chars truncated]...xyz',
    ],
)
def test_marks_in_what_is_no_json_any_more(text):
    assert cut_in_broken(text)


@given(st.text(alphabet="ab .…[](<>)0123456789", max_size=60))
def test_dots_and_brackets_alone_are_no_mark(text):
    assert find_cut(text) is None


@pytest.mark.parametrize(
    "text",
    ["." * 200_000, "(" + " " * 200_000, "... [5 chars truncated" + " " * 200_000, "[" * 200_000, "... " * 50_000,
     "..." + "1" * 200_000, "…(" * 50_000],
)  # fmt: skip
@pytest.mark.timeout(5)
def test_no_text_takes_long_to_look_through(text):
    assert find_cut(text + "x") is None
    assert cut_in_broken(text + "x") is None
