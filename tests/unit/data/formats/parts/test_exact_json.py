"""JSON of whole files: what JSON has not is found, and arrays are read a piece at a time, past what is broken."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts import exact_json
from lfwrap.data.formats.parts.exact_json import ExactDecoder, exact_value, stream_items

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate-key", "'c'"),
        ('[{"a": NaN}]', "not-json", "NaN"),
        ('{"a": -Infinity}', "not-json", "Infinity"),
        ('{"a": 1e400}', "not-json", "1e400"),
        ('{"a": -1.5E+999}', "not-json", "-1.5E+999"),
        ('{"a": 1} {"b": 2}', "not-json", "Extra data"),
        ('{"a": ', "not-json", "column"),
        ("[" * 100_000, "not-json", "nested"),
    ],
)
def test_what_json_has_not_is_named(text, rule, words):
    found = exact_value(text)
    assert isinstance(found, Reject)
    assert found.rule == rule
    assert words in found.reason


def test_a_decoder_forgets_the_problem_of_the_value_before():
    decoder = ExactDecoder()
    assert decoder.decode_at('{"a": NaN}').problem is not None
    assert decoder.decode_at('{"a": 1}').problem is None


@given(JSON)
def test_other_json_is_read_as_it_is(value):
    assert exact_value(json.dumps(value)) == value


@given(
    st.lists(st.dictionaries(st.text(), JSON, max_size=3) | st.lists(JSON, max_size=3), max_size=8),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
def test_arrays_are_streamed_whatever_the_pieces(items, piece, indent):
    text = json.dumps(items, indent=indent)
    before, exact_json._READ_CHARACTERS = exact_json._READ_CHARACTERS, piece
    try:
        found = list(stream_items(io.StringIO(text)))
    finally:
        exact_json._READ_CHARACTERS = before
    assert [value for _, value in found] == items
    places = [line for line, _ in found]
    assert places == sorted(places)


@pytest.mark.parametrize("broken", ['{"id": 2, "x": tru}', '{"id": 2 "x": 1}', '{"id": 2, "x": [,]}', '{"id": 2, ]'])
def test_behind_a_broken_item_the_rest_is_read(broken):
    text = f'[{{"id": 1}},\n{broken},\n{{"id": 3}},\n{{"id": 4}}]'
    found = list(stream_items(io.StringIO(text)))
    assert [line for line, _ in found] == [1, 2, 3, 4]
    assert [value.rule if isinstance(value, Reject) else value["id"] for _, value in found] == [1, "not-json", 3, 4]


def test_an_array_that_is_cut_off_ends_with_a_reject():
    found = [value for _, value in stream_items(io.StringIO('[{"id": 1}, {"id": 2, "x": "cut'))]
    assert found[0] == {"id": 1}
    assert found[1].rule == "not-json"
