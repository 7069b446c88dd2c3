"""Tool catalogues from every kind of file, and type names only where a schema stands."""

from __future__ import annotations

import json

import pytest

from lfwrap import bundled
from lfwrap.data.formats.base import RowNotes
from lfwrap.data.formats.parts.schemas import normalise_schema, parse_parameters
from lfwrap.data.tools.catalogue import load_catalogue
from lfwrap.errors import DataError

TOOL = {"name": "get", "description": "d", "inputSchema": {"type": "object", "properties": {}}}
OPENAI = {
    "type": "function",
    "function": {"name": "get", "description": "d", "parameters": {"type": "object", "properties": {}}},
}
SHAPES = {
    "a list": [TOOL],
    "one tool": TOOL,
    "tools/list result": {"tools": [TOOL], "nextCursor": "x"},
    "JSON-RPC reply": {"jsonrpc": "2.0", "id": 1, "result": {"tools": [TOOL]}},
    "results of servers": [{"serverInfo": {"name": "s"}, "tools": [TOOL]}, {"tools": [TOOL]}],
    "OpenAI": [OPENAI],
    "Anthropic": [{"name": "get", "description": "d", "input_schema": TOOL["inputSchema"]}],
}


@pytest.mark.parametrize("shape", sorted(set(SHAPES) - {"JSON-RPC reply"}))
def test_shapes_of_tools_files(tmp_path, shape):
    (tmp_path / "tools.json").write_text("\ufeff" + json.dumps(SHAPES[shape]), encoding="utf-8")
    tools = load_catalogue([tmp_path / "tools.json"]).tools
    assert {name: tool.parameters for name, tool in tools.items()} == {"get": TOOL["inputSchema"]}


def test_indented_replies_and_lines(tmp_path):
    (tmp_path / "reply.json").write_text(json.dumps(SHAPES["JSON-RPC reply"], indent=1), encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text(
        json.dumps({**TOOL, "name": "a"}) + "\n\n" + json.dumps({**TOOL, "name": "b"}), encoding="utf-8"
    )
    assert list(load_catalogue([tmp_path]).tools) == ["a", "b", "get"]


def test_a_wire_log_is_a_tools_file():
    tools = load_catalogue([bundled.bundled_path("data/mcp/session.log")]).tools
    assert "tidewatch.get_tides" in tools
    assert "parcel-track" in tools


def test_colliding_names_are_left_out_and_said(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([TOOL, {**TOOL, "name": "fine"}]), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps([{**TOOL, "description": "another"}]), encoding="utf-8")
    catalogue = load_catalogue([tmp_path])
    assert list(catalogue.tools) == ["fine"]
    assert catalogue.collisions == {"get"}
    (finding,) = catalogue.findings
    assert (finding.rule, finding.severity) == ("tool-collision", "warning")
    assert "a.json" in finding.message
    assert finding.file.endswith("b.json")


def test_what_is_no_tool_is_a_warning(tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([TOOL, {"description": "nameless"}, 3]), encoding="utf-8")
    assert [finding.rule for finding in load_catalogue([tmp_path / "tools.json"]).findings] == ["tool", "tool"]


def test_client_configurations_are_refused_without_showing_them(tmp_path):
    config = {"mcpServers": {"s": {"command": "x", "env": {"API_KEY": "very-secret-1234567890"}}}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_catalogue([tmp_path / "config.json"])
    assert "mcpServers" in caught.value.message
    assert "secret-" not in str(caught.value.to_json())


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[]"])
def test_files_without_tools_are_errors(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError):
        load_catalogue([tmp_path / "x.json"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.json"):
        load_catalogue([tmp_path / "nothing.json"])


def test_type_names_change_where_a_schema_stands_and_nowhere_else():
    schema = {
        "type": "dict",
        "properties": {
            "type": {"type": "str", "enum": ["str", "int"], "default": {"type": "str"}},
            "x": {"anyOf": [{"type": "int"}]},
        },
        "$defs": {"d": {"type": "list", "items": {"type": "bool"}}},
        "examples": [{"type": "dict"}],
    }
    assert normalise_schema(schema, RowNotes()) == {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["str", "int"], "default": {"type": "str"}},
            "x": {"anyOf": [{"type": "integer"}]},
        },
        "$defs": {"d": {"type": "array", "items": {"type": "boolean"}}},
        "examples": [{"type": "dict"}],
    }


@pytest.mark.parametrize(
    ("flat", "required"),
    [
        ({"a": {"type": "str"}}, ["a"]),
        ({"a": {"type": "str, optional"}}, []),
        ({"a": {"type": "int", "default": 3}}, []),
        ({"a": {"type": "Optional[str]"}}, []),
        ({"a": {"type": "str", "default": ""}}, []),
        ({"type": {"type": "str"}}, ["type"]),
        ({"a": {"description": "d"}}, ["a"]),
    ],
)
def test_flat_parameters_become_a_schema(flat, required):
    found = parse_parameters(flat, RowNotes())
    assert found["type"] == "object"
    assert found["required"] == required
    assert set(found["properties"]) == set(flat)


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": {}}, {"type": "dict", "properties": None}])
def test_absent_properties_are_empty(schema):
    assert parse_parameters(schema, RowNotes()) == {"type": "object", "properties": {}}
