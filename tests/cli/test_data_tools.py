"""`lfwrap data formats` and `lfwrap data tools`, as they are typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run
from lfwrap.data.formats import FORMATS
from lfwrap.data.tools.catalogue import load_catalogue

SERVER = shlex.join([sys.executable, str(Path(__file__).parents[1] / "process" / "mcp_server_for_tests.py")])
LOG = str(bundled_path("data/mcp/session.log"))
TOOLS = str(bundled_path("data/mcp/tools.json"))


def answer(capfd, *arguments):
    code = run(["data", *arguments])
    captured = capfd.readouterr()
    return code, captured.out, captured.err


def test_formats_are_listed_with_rows_that_they_are_told_by(capfd):
    code, out, _ = answer(capfd, "formats")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == list(FORMATS)
    listed = json.loads(answer(capfd, "formats", "--json")[1])
    assert listed["schema"] == "lfwrap.data-formats/1"
    assert all(row["told_by"] and json.loads(row["example"]) for row in listed["formats"])


def test_a_logs_tools_are_listed_by_server(capfd):
    code, out, err = answer(capfd, "tools", LOG)
    lines = out.splitlines()
    assert code == 0
    assert [line for line in lines if not line.startswith(" ")] == ["tidewatch:", "parcel-desk:"]
    assert lines[1].startswith("  tidewatch.get_tides        High and low water at a port")
    assert "9 tools of 2 servers" in err


def test_what_is_written_is_read_again_as_the_same_tools(capfd, tmp_path):
    """A log's tools are in the servers' lists already: all of them are there once."""
    out = tmp_path / "all.json"
    code, said, _ = answer(capfd, "tools", LOG, TOOLS, "--out", str(out))
    assert (code, said) == (0, f"{out}\n")
    assert [server["serverInfo"]["name"] for server in json.loads(out.read_text(encoding="utf-8"))][:2] == [
        "tidewatch",
        "parcel-desk",
    ]
    written, original = load_catalogue([out]), load_catalogue([Path(TOOLS)])
    assert (written.tools, len(written.tools), written.findings) == (original.tools, 28, ())


def test_nothing_is_overwritten_without_force(capfd, tmp_path):
    out = tmp_path / "tools.json"
    out.write_text("mine", encoding="utf-8")
    code, _, err = answer(capfd, "tools", LOG, "--out", str(out))
    assert (code, out.read_text(encoding="utf-8")) == (4, "mine")
    assert "--force" in err
    assert answer(capfd, "tools", LOG, "--out", str(out), "--force")[0] == 0
    assert len(load_catalogue([out]).tools) == 9


def test_json_is_a_tools_file_too(capfd, tmp_path):
    _, out, _ = answer(capfd, "tools", LOG, "--json")
    value = json.loads(out)
    assert (value["schema"], value["tools"], value["file"]) == ("lfwrap.data-tools/1", 9, None)
    (tmp_path / "kept.json").write_text(out, encoding="utf-8")
    assert load_catalogue([tmp_path / "kept.json"]).tools == load_catalogue([Path(LOG)]).tools


def lfwrap(*arguments):
    """The client hands its stderr on to the server: a real one is needed."""
    pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
    return subprocess.run([sys.executable, "-m", "lfwrap", *arguments], capture_output=True, text=True, check=False)


def test_a_live_server_beside_a_file():
    done = lfwrap("data", "tools", LOG, "--mcp-server", SERVER, "--json")
    value = json.loads(done.stdout)
    assert [server["serverInfo"]["name"] for server in value["servers"]] == [
        "tidewatch",
        "parcel-desk",
        "lfwrap-test-server",
    ]
    assert value["tools"] == 12


def test_two_tools_of_one_name_are_said(capfd, tmp_path):
    for name in ("a", "b"):
        value = {"serverInfo": {"name": name}, "tools": [{"name": "get", "description": name, "inputSchema": {}}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    code, out, err = answer(capfd, "tools", str(tmp_path), "--json")
    assert code == 0
    assert "'get' is another tool" in err
    assert [finding["rule"] for finding in json.loads(out)["findings"]] == ["tool-collision"]


def test_what_a_terminal_would_obey_is_shown_as_text(capfd, tmp_path):
    tool = {"name": "get", "description": "a\x1b[31m b\u202e\nc", "inputSchema": {}}
    (tmp_path / "t.json").write_text(json.dumps([tool]), encoding="utf-8")
    _, out, _ = answer(capfd, "tools", str(tmp_path))
    assert out.splitlines()[1] == "  get  a\\x1b[31m b\\u202e c"


def test_a_server_that_does_not_start_is_said():
    done = lfwrap("data", "tools", "--mcp-server", "/nonexistent/server")
    assert done.returncode == 6
    assert "--mcp-server: there is no command '/nonexistent/server'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "nothing to take tools from"),
        (("no/such.json",), 4, "no such file or folder"),
    ],
)
def test_what_is_wrong_is_said(capfd, arguments, code, said):
    found, out, err = answer(capfd, "tools", *arguments)
    assert (found, out) == (code, "")
    assert said in err
