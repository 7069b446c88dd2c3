"""Rows of every format with something in them replaced: written or rejected by name, never a crash."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.convert.record_path import Conversion, RecordPath
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, SourceRecord
from lfwrap.data.readers.blocks import RecordBlock
from lfwrap.data.schema.conversation import Tool

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"
# What `read` of a wire log joins is never the user's own writing.
RECORDS = [
    (path.parent.name, json.loads(path.read_text(encoding="utf-8"))["record"])
    for path in sorted(GOLDEN.rglob("*.input.json"))
    if path.parent.name != "mcp-wire"
]
ODD = [
    None, True, 1 << 70, 2.5, math.nan, math.inf, "", "a\ud800b", "{", "[1]", "null", '{"a":1,"a":2}', [], {}, [[]],
    [None], {"": None}, {"\ud800": "x"}, "<think>", "{{idx}}", "<|im_end|>", {"name": "f"},
    [{"name": "f", "arguments": {}}], {"type": "object", "properties": {"a": {"$ref": "#/x"}}}, {"type": ["string", 3]},
    {"properties": 3}, {"enum": 3}, {"pattern": "("}, "\x00", 10**400,
]  # fmt: skip
TEMPLATES = ("", "qwen", "qwen3_5", "llama3", "mistral", "glm4", "default")


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a value: the keys that lead there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in items:
        yield (*before, key)
        yield from places(held, (*before, key))


@st.composite
def broken_rows(draw: st.DrawFn) -> tuple[str, Any]:
    name, record = draw(st.sampled_from(RECORDS))
    record = copy.deepcopy(record)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(list(places(record)) or [("added",)]))
        inner = record
        for key in path:
            inner = inner[key]
        inner[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return name, record


@settings(max_examples=400, deadline=None)
@given(broken_rows(), st.sampled_from(TEMPLATES))
def test_no_row_is_a_crash(row: tuple[str, Any], template: str) -> None:
    name, record = row
    options = ConvertOptions(tools={"f": Tool("f")}, distractors=1)
    path = RecordPath(RecordBlock([SourceRecord(1, 1, record)]), Conversion(name, options, template))
    rows = path.take_all()
    assert name in FORMATS
    assert len(rows.keys) + len(rows.rejects) == 1
    for line in rows.lines():
        written = json.loads(line)
        assert all(isinstance(turn[key], str) for turn in written["conversations"] for key in ("from", "value"))
    assert all(reject.rule and reject.reason for reject in rows.rejects.values())
