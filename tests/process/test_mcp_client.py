"""A real MCP server over stdio: its tools are listed over all pages; servers that fail are said to."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from lfwrap.data.tools.mcp_client import ask_server
from lfwrap.errors import PreflightError

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

SERVER = Path(__file__).with_name("mcp_server_for_tests.py")
COMMAND = shlex.join([sys.executable, str(SERVER)])


def test_all_pages_of_a_live_server():
    tools = ask_server(COMMAND).tools
    assert [tool.name for tool in tools] == ["weather.get", "clock-now", "third"]
    assert tools[0].description == "查询天气"
    assert tools[0].parameters == {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    assert tools[1].parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/nonexistent/server", "there is no command '/nonexistent/server'"),
        (shlex.join([sys.executable, "-c", "raise SystemExit(3)"]), "closed"),
        ("'unclosed", "quotes"),
        ("", "empty"),
    ],
)
def test_servers_that_fail_are_said_to(command, said):
    with pytest.raises(PreflightError) as caught:
        ask_server(command, timeout_s=20)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_silent_server_is_given_up():
    with pytest.raises(PreflightError, match="no answer within 1 s"):
        ask_server(shlex.join([sys.executable, "-c", "import time; time.sleep(60)"]), timeout_s=1)
