"""`lfwrap prepare-data` on tool calls: the bundled MCP sets, joined with tools, instructions and a live server."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.cli.app import run

MCP = bundled_path("data/mcp")
CALLS, CONVERSATIONS, LOG = (str(MCP / name) for name in ("calls.jsonl", "conversations.jsonl", "session.log"))
TOOLS = ["--tools", str(MCP / "tools.json")]
# What the log says beyond what a model is shown.
IGNORED = [
    word for name in ("structuredContent", "title", "outputSchema", "annotations") for word in ("--ignore", name)
]
INSTRUCTIONS = ["--instructions", str(MCP / "session_instructions.jsonl")]
SERVER = Path(__file__).parents[1] / "process" / "mcp_server_for_tests.py"


@pytest.fixture
def prepared(capsys, tmp_path):
    """Runs prepare-data; gives the exit code, the report, the rows and stderr."""

    def prepare(*arguments, name="mcp"):
        out = tmp_path / "out"
        command = ["prepare-data", *arguments, "--out", str(out), "--name", name, "--no-engine-check", "--json"]
        code = run([*map(str, command)])
        captured = capsys.readouterr()
        path = out / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return code, json.loads(captured.out), rows, captured.err

    return prepare


def offered(row):
    return [tool["function"]["name"] for tool in json.loads(row["tools"])]


def called(row):
    for turn in row["conversations"]:
        if turn["from"] == "function_call":
            calls = json.loads(turn["value"].partition("<tool_call>")[2].partition("</tool_call>")[0] or turn["value"])
            yield from calls if isinstance(calls, list) else [calls]


@pytest.mark.parametrize(
    ("arguments", "rows_by_file"),
    [
        ([CALLS, *TOOLS, "--distractors", "5"], {"mcpflow": 120}),
        ([CONVERSATIONS], {"openai": 62}),
        ([LOG, *INSTRUCTIONS], {"mcp-wire": 13}),
        (
            [CALLS, CONVERSATIONS, LOG, *TOOLS, *INSTRUCTIONS, "--distractors", "5"],
            {"mcpflow": 120, "openai": 62, "mcp-wire": 13},
        ),
    ],
    ids=["calls", "conversations", "log", "all three"],
)
def test_every_row_of_the_bundled_sets_is_written(prepared, arguments, rows_by_file):
    code, report, rows, _ = prepared(*arguments, "--template", "qwen", "--strict", *IGNORED)
    assert code == 0
    assert {file["format"]: file["rows_out"] for file in report["files"]} == rows_by_file
    assert report["rows_in"] == report["rows_out"] == len(rows) == sum(rows_by_file.values())
    assert (report["rejected"], report["duplicates"], report["warnings"]) == (0, 0, {})
    for row in rows:
        names = offered(row)
        assert len(names) == len(set(names))
        for call in called(row):
            assert call["name"] in names
            assert isinstance(call["arguments"], dict)


@pytest.mark.parametrize(
    ("template", "rejects", "warned"),
    [
        ("qwen", {}, set()),
        ("llama3", {}, {"text-call-unread"}),
        ("glm4", {"parallel-calls": 14}, {"text-call-unread"}),
        ("mistral", {"text-beside-call": 3}, set()),
        ("default", {}, {"tool-name-unread"}),
    ],
)
def test_what_a_template_cant_say_is_rejected_by_name(prepared, template, rejects, warned):
    code, report, rows, _ = prepared(CALLS, CONVERSATIONS, LOG, *TOOLS, *INSTRUCTIONS, "--template", template)
    assert code == 0
    assert report["rejects_by_rule"] == rejects
    assert set(report["warnings"]) == warned
    assert report["rows_in"] == 195 == len(rows) + report["rejected"] + report["duplicates"]


def test_calls_without_tools_are_rejected_with_the_reason(prepared):
    code, report, rows, err = prepared(CALLS)
    assert (code, rows) == (4, [])
    assert report["schema"] == "lfwrap.error/1"
    assert "none of 120 rows can be used" in err
    assert "calls.jsonl:1" in err


@pytest.mark.parametrize("distractors", [0, 1, 9, 100])
def test_distractors_stand_beside_the_called_tool(prepared, distractors):
    _, report, rows, _ = prepared(CALLS, *TOOLS, "--distractors", distractors)
    assert {len(offered(row)) for row in rows} == {min(distractors + 1, 28)}
    assert (report["options"]["tools"], report["options"]["distractors"]) == (28, distractors)


def test_distractors_depend_on_the_row_and_the_seed_alone(prepared, tmp_path):
    shuffled = tmp_path / "calls.jsonl"
    lines = Path(CALLS).read_text(encoding="utf-8").splitlines(keepends=True)
    shuffled.write_text("".join(reversed(lines)), encoding="utf-8")
    options = [*TOOLS, "--distractors", "5"]
    forward = [json.dumps(row) for row in prepared(CALLS, *options, name="a")[2]]
    backward = [json.dumps(row) for row in prepared(shuffled, *options, "-j", "2", name="b")[2]]
    other = [json.dumps(row) for row in prepared(CALLS, *options, "--seed", "7", name="c")[2]]
    assert sorted(forward) == sorted(backward)
    assert sorted(forward) != sorted(other)


def test_a_whole_folder_with_its_tools_and_instructions(prepared):
    """The tools and the instructions in it are no sources."""
    code, report, _, _ = prepared(MCP, *TOOLS, *INSTRUCTIONS)
    assert (code, report["rows_in"], report["rows_out"]) == (0, 195, 195)


def test_a_log_can_be_source_and_tools_at_once(prepared):
    code, report, rows, _ = prepared(CALLS, LOG, "--tools", LOG, *INSTRUCTIONS)
    assert code == 0
    assert report["rows_in"] == 133 == len(rows) + report["rejected"]
    assert report["rejects_by_rule"] == {"undeclared-tool": report["rejected"]}
    assert report["files"][1]["rows_out"] == 13


def test_a_log_without_instructions_says_what_it_needs(prepared):
    code, _, _, err = prepared(LOG)
    assert code == 4
    assert "none of 14 rows can be used" in err
    assert "no instruction says what the user asked for" in err


def test_broken_instructions_are_all_named(prepared, tmp_path):
    path = tmp_path / "asked.jsonl"
    path.write_text('{"instruction": "a"}\n{"id": 2}\nno json\n', encoding="utf-8")
    code, report, _, err = prepared(LOG, "--instructions", path)
    assert code == 4
    assert [finding["line"] for finding in report["error"]["findings"]] == [2, 3]
    assert "asked.jsonl:2" in err


def test_colliding_tools_are_said_and_their_calls_rejected(prepared, tmp_path):
    other = {"name": "parcel-track", "description": "another", "inputSchema": {"type": "object"}}
    (tmp_path / "other.json").write_text(json.dumps([other]), encoding="utf-8")
    code, report, rows, err = prepared(CALLS, *TOOLS, "--tools", tmp_path / "other.json")
    tracked = sum('"parcel-track"' in line for line in Path(CALLS).read_text(encoding="utf-8").splitlines())
    assert code == 0
    assert "warning: " in err
    assert "'parcel-track' is another tool in" in err
    assert report["rejects_by_rule"] == {"undeclared-tool": tracked}
    assert len(rows) == 120 - tracked


def test_a_live_server_gives_the_tools(tmp_path):
    pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")
    row = {"function_call": {"name": "weather.get", "arguments": {"city": "北京"}}, "source_instruction": "北京天气?"}
    (tmp_path / "calls.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    server = ["--mcp-server", shlex.join([sys.executable, str(SERVER)])]
    where = ["--out", str(tmp_path / "out"), "--name", "live", "--no-engine-check"]
    command = [sys.executable, "-m", "lfwrap", "prepare-data", str(tmp_path / "calls.jsonl"), *server, *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [written] = [json.loads(line) for line in (tmp_path / "out" / "live.jsonl").read_text("utf-8").splitlines()]
    assert offered(written) == ["weather.get"]
    assert json.loads(written["conversations"][1]["value"]) == row["function_call"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--distractors", "3"], 2, "there are no tools to choose from"),
        (["--distractors", "-1"], 2, "-1"),
        (["--tools", "nothing.json"], 4, "no such file or folder"),
        (["--instructions", "nothing.jsonl"], 2, "nothing.jsonl"),
        (["--mcp-server", "'"], 6, "quotes don't match"),
    ],
)
def test_options_that_make_no_sense(prepared, options, code, said):
    found, _, _, err = prepared(CALLS, *options)
    assert found == code
    assert said in err


def test_a_sources_file_holds_it_all_and_locks_the_tools(capsys, tmp_path):
    shutil.copytree(MCP, tmp_path / "mcp")
    (tmp_path / "sources.yaml").write_text(
        "name: mcp\nout: out\ntemplate: qwen\ntools: mcp/tools.json\ndistractors: 5\n"
        "instructions: mcp/session_instructions.jsonl\nsources:\n  - path: mcp\n",
        encoding="utf-8",
    )
    command = ["prepare-data", str(tmp_path / "sources.yaml"), "--no-engine-check", "--json"]
    assert run(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_in"], report["rows_out"], report["options"]["distractors"]) == (195, 195, 5)
    locked = json.loads((tmp_path / "sources.lock.json").read_text(encoding="utf-8"))
    assert {"mcp/tools.json", "mcp/session_instructions.jsonl", "mcp/session.log"} <= set(locked["inputs"])
    assert run([*command, "--frozen", "--force"]) == 0
    with (tmp_path / "mcp" / "tools.json").open("a", encoding="utf-8") as sink:
        sink.write("\n")
    capsys.readouterr()
    assert run([*command, "--frozen", "--force"]) == 4
    assert "mcp/tools.json has changed" in capsys.readouterr().err
