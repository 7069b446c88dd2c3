"""A real MCP server kept open: its tools are called, failures come back as results, and it is gone afterwards."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import psutil
import pytest

from lfwrap.data.tools.mcp_session import ToolResult, open_mcp_session
from lfwrap.errors import PreflightError

pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

SERVER = Path(__file__).with_name("mcp_calling_server.py")
COMMAND = shlex.join([sys.executable, str(SERVER)])


def servers() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True) if SERVER.name in str(child.cmdline())]


def test_tools_are_called_and_the_server_ends_with_the_session():
    with open_mcp_session(COMMAND) as session:
        assert [tool.name for tool in session.tools] == ["add", "fail", "exit"]
        assert session.call("add", {"a": 2, "b": 3}) == ToolResult("5")
        assert session.call("fail", {}) == ToolResult("out of paper", is_error=True)
        assert servers()
    assert not servers()


def test_what_goes_wrong_is_a_result_that_says_so():
    with open_mcp_session(COMMAND, timeout_s=10) as session:
        wrong = session.call("add", {"a": 1})
        assert wrong.is_error
        assert wrong.text.startswith("Error")
        assert session.call("add", {"a": 1, "b": 1}) == ToolResult("2")


def test_a_server_that_dies_in_a_call_is_a_result_too():
    with open_mcp_session(COMMAND, timeout_s=2) as session:
        assert session.call("exit", {}).is_error


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/nonexistent/server", "there is no command"),
        (shlex.join([sys.executable, "-c", "raise SystemExit(3)"]), "closed"),
        ("", "empty"),
    ],
)
def test_servers_that_do_not_start_are_said_to(command, said):
    with pytest.raises(PreflightError) as caught, open_mcp_session(command, timeout_s=20):
        pass
    assert said in caught.value.message
    assert caught.value.hint
