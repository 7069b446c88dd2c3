"""Every field of a record is accounted for: written, named as unused, or the reason for a reject."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.schema.columns import is_all_known
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.schema.field_meanings import meaning_of

_EXTRA = "zz_extra"
_OPTIONS = ConvertOptions(tools={"weather_get": Tool("weather_get")})
_BY_LINES = [name for name in FORMATS if name != "mcp-wire"]


def _example(name):
    record = json.loads(FORMATS[name].example)
    if name == "mcpflow-trajectories":
        record["messages"].append({"role": "assistant", "content": "15"})  # or its last result would be cut off
    return record


def _places(value, path=()):
    """The path of every object in a value, those within JSON text included."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from _places(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _places(inner, (*path, number))
    elif isinstance(value, str) and value[:1] in "{[":
        try:
            inner = json.loads(value)
        except ValueError:
            return
        yield from _places(inner, (*path, json))


def _with_extra(value, path, extra):
    if not path:
        return {**value, _EXTRA: extra}
    first, rest = path[0], path[1:]
    if first is json:
        return json.dumps(_with_extra(json.loads(value), rest, extra))
    changed = copy.copy(value)
    changed[first] = _with_extra(value[first], rest, extra)
    return changed


def _cases():
    for name in _BY_LINES:
        record = _example(name)
        for path in _places(record):
            if name == "bfcl" and path[:1] == ("ground_truth",):
                continue  # its names are functions and arguments: more of them are another answer
            yield pytest.param(name, path, id=f"{name}-{'.'.join('json' if p is json else str(p) for p in path)}")


@pytest.mark.parametrize(("name", "path"), list(_cases()))
@pytest.mark.parametrize("extra", [7, "text", {"a": 1}, None])
def test_a_field_that_no_format_knows_is_named_or_written(name, path, extra):
    record = _with_extra(_example(name), path, extra)
    notes = RowNotes()
    line, _ = convert_record(record, Conversion(name, _OPTIONS), notes)
    around = str(path[0]) if path else _EXTRA  # a field that is not read at all is named as a whole
    named = {place for place in notes.left() if place.rpartition(".")[2] == _EXTRA or place == around}
    assert named or _EXTRA.encode() in line


@pytest.mark.parametrize("name", _BY_LINES)
def test_the_example_of_a_format_has_only_known_fields(name):
    notes = RowNotes()
    convert_record(_example(name), Conversion(name, _OPTIONS), notes)
    assert not set(notes.left()) - {"uuid", "question", "id", "tool", "server_info"}


_NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x4FFF, exclude_categories=["Cs"]), min_size=1)


@given(st.sampled_from(_BY_LINES), st.dictionaries(_NAMES, st.integers() | st.text() | st.none(), max_size=4))
def test_any_fields_beside_those_of_a_format_are_named_unless_they_refuse_the_row(name, extras):
    record = _example(name)
    record = {**extras, **record}
    notes = RowNotes()
    try:
        convert_record(record, Conversion(name, _OPTIONS), notes)
    except Reject:
        return
    added = extras.keys() - _example(name).keys()
    assert {key for key in added if not _may_be_read(key)} <= notes.left().keys()


def _may_be_read(name):
    """Whether a format may know the name: an alias of a column, or a field that says something about training."""
    return is_all_known([name]) or meaning_of(name) is not None
