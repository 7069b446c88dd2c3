"""A tool that was seen before is recognised, and is counted in each row as if it were read anew."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lfwrap.data.convert import schema_check, validate
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts import schemas
from lfwrap.data.formats.parts.schemas import parse_tools


def tools(name: str, count: int = 30) -> list[dict[str, Any]]:
    return [
        {"name": f"{name}{n}", "title": "T", "parameters": {"type": "object", "properties": {"a": {"type": "int"}}}}
        for n in range(count)
    ]


def test_a_tool_is_read_once_and_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    parse = schemas.parse_tool
    monkeypatch.setattr(schemas, "parse_tool", lambda value, *rest: read.append(value["name"]) or parse(value, *rest))
    notes = [RowNotes() for _ in range(5)]
    found = [parse_tools(json.loads(json.dumps(tools("once"))), one) for one in notes]
    assert len(read) == 30
    assert found == [found[0]] * 5
    assert [one.repairs for one in notes] == [{"type-names": 30}] * 5
    assert [one.left() for one in notes] == [notes[0].left()] * 5
    assert notes[0].left() == {"tools[].title": "T"}


def test_tools_that_differ_in_anything_are_told_apart() -> None:
    variants = [
        {"name": "v", "parameters": {"properties": {"a": {"default": value}}}}
        for value in (1, 1.0, True, "1", None, -0.0, 0.0, [1], {"1": 1}, 10**30, "\ud800")
    ]
    for one in (*variants, *variants):
        [tool] = parse_tools([one], RowNotes())
        assert repr(tool.parameters["properties"]["a"]["default"]) == repr(
            one["parameters"]["properties"]["a"]["default"]
        )


def test_a_tool_that_makes_no_sense_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(Reject, match="has no name"):
            parse_tools([{"parameters": {}}], RowNotes())


def test_what_is_kept_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "_KNOWN_TOOLS", 10)
    parse_tools(tools("many", 100), RowNotes())
    assert len(schemas._known) <= 10


def test_a_tool_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = schema_check.schema_problem
    monkeypatch.setattr(validate, "schema_problem", lambda schema: checked.append(schema) or check(schema))
    for _ in range(3):
        for tool in parse_tools(tools("checked", 5), RowNotes()):
            validate._tool_findings(tool.name, tool.description, validate.dump_key(tool.parameters), "")
    assert len(checked) == 5
