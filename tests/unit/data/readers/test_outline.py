"""The outline of an object has every value's place, whatever the values hold and wherever a window ends."""

from __future__ import annotations

import io
import json
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.data.readers.json_files import outline as outlines
from lfwrap.data.readers.json_files.outline import JsonBytes, outline

PIECES = st.sampled_from(["\\", '"', "\n", "{", "}", "[", "]", ",", ":", "a", "n", "猫", "\\n", '\\"', "\x00"])
TEXTS = st.lists(PIECES, max_size=8).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.integers(1, 40), st.booleans(), st.sampled_from([None, 1]))
def test_each_value_is_where_json_has_it(held: dict[str, Any], window: int, ascii_only: bool, indent: Any) -> None:
    content = json.dumps(held, ensure_ascii=ascii_only, indent=indent).encode() + b" []"
    with mock.patch.multiple(outlines, _WINDOW_BYTES=window, _FINE_BYTES=max(1, window // 3)):
        found = outline(JsonBytes(io.BytesIO(content), len(content)), 0)
    assert found.error is None
    assert found.end == len(content) - 3
    places = {entry.key: json.loads(content[entry.start : entry.end]) for entry in found.entries}
    assert places == held


@pytest.mark.parametrize("wrong", [rb"C:\Data", rb"\q", rb"100\%", rb"\x41"])
def test_an_escape_that_json_has_not_hides_no_quote(wrong: bytes) -> None:
    content = b'{"a": ["' + wrong + b'", "x"], "b": 1}'
    found = outline(JsonBytes(io.BytesIO(content), len(content)), 0)
    assert [entry.key for entry in found.entries] == ["a", "b"]
