"""Calls and their arguments as text: JSON, JSON in JSON, Python, bracketed calls."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import dump_key, parse_arguments, parse_json_field, parse_python
from lfwrap.data.formats.parts.bracket_calls import looks_like_calls, parse_bracket_calls, split_outside


@pytest.mark.parametrize("text", ["{'a': {1, 2}}", "{'a': b'bytes'}", "{'a': 1j}", "{'a': ...}", "{(1, 2): 3}"])
def test_a_python_value_that_json_has_not_is_refused(text):
    with pytest.raises(Reject) as caught:
        parse_python(text, "a call")
    assert caught.value.rule == "arguments"


@pytest.mark.parametrize(
    ("value", "arguments", "repair"),
    [
        ({"a": 1}, {"a": 1}, None),
        (None, {}, "arguments-absent"),
        ("", {}, "arguments-absent"),
        ("{}", {}, "arguments-text-to-object"),
        ("null", {}, "arguments-text-to-object"),
        ('{"a": 12345678901234567890}', {"a": 12345678901234567890}, "arguments-text-to-object"),
        (json.dumps('{"a": 1}'), {"a": 1}, "arguments-encoded-twice"),
    ],
)
def test_arguments_come_as_an_object(value, arguments, repair):
    notes = RowNotes()
    assert parse_arguments(value, notes) == arguments
    assert list(notes.repairs) == ([repair] if repair else [])


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        ("{a: 1}", "arguments", "not JSON"),
        ("[1]", "arguments", "a list"),
        ("3", "arguments", "a number"),
        ("true", "arguments", "true or false"),
        (json.dumps(json.dumps("{}")), "arguments", "text"),
        ('{"a": NaN}', "arguments", "NaN"),
        ('{"a": -Infinity}', "arguments", "-Infinity"),
        ('{"a": 1, "a": 2}', "duplicate-key", "'a'"),
        ('{"o": {"b": 1, "b": 1}}', "duplicate-key", "'b'"),
        ("[" * 100_000, "arguments", "nested too deeply"),
        ([1], "arguments", "a list"),
    ],
)
def test_arguments_that_are_no_object_are_rejected_by_name(value, rule, words):
    with pytest.raises(Reject) as caught:
        parse_arguments(value, RowNotes())
    assert caught.value.rule == rule
    assert words in caught.value.reason


@pytest.mark.parametrize("text", ["__import__('os').system('x')", "{'a': open('f')}", "{'a':"])
def test_python_arguments_are_literals_and_nothing_runs(text):
    with pytest.raises(Reject, match="neither JSON nor a Python literal"):
        parse_arguments(text, RowNotes(), python=True)


def test_python_arguments_where_they_are_allowed():
    assert parse_arguments("{'a': None, 'b': True}", RowNotes(), python=True) == {"a": None, "b": True}
    with pytest.raises(Reject):
        parse_arguments("{'a': None}", RowNotes())


def test_a_field_of_json_text_says_which_field_is_broken():
    assert parse_json_field([1], "tools") == [1]
    assert parse_json_field("[1]", "tools") == [1]
    with pytest.raises(Reject, match="messages is text that is not JSON") as caught:
        parse_json_field("[", "messages", "structure")
    assert caught.value.rule == "structure"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=6))
def test_keys_of_the_cache_hold_any_value(value):
    assert json.loads(dump_key(value)) == value


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[f()]", [("f", {})]),
        ("[ f ( ) ]", [("f", {})]),
        ('[Market Trends API(trend_type="INDEXES", n=3)]', [("Market Trends API", {"trend_type": "INDEXES", "n": 3})]),
        ("[f(a=true, b=null, c=[1, false], d={'k': 'v'})]",
         [("f", {"a": True, "b": None, "c": [1, False], "d": {"k": "v"}})]),
        ("[f(a=(1, 2))]", [("f", {"a": [1, 2]})]),
        ("[f(a=-1.5), g.h(b='x, y)')]", [("f", {"a": -1.5}), ("g.h", {"b": "x, y)"})]),
        ("[User's Feed(count=1)]", [("User's Feed", {"count": 1})]),
        (r'[f(a="say \"hi\"")]', [("f", {"a": 'say "hi"'})]),
        ("[f(a=1,)]", [("f", {"a": 1})]),
    ],
)  # fmt: skip
def test_bracketed_calls(text, calls):
    names = [name for name, _ in calls]
    assert looks_like_calls(text, names)
    assert [(call.name, call.arguments) for call in parse_bracket_calls(text)] == calls


def test_a_name_with_parentheses_is_known_only_when_declared():
    text = "[Search (v2)(q='x')]"
    assert looks_like_calls(text, ["Search (v2)"])
    [call] = parse_bracket_calls(text, ["Search (v2)", "Search"])
    assert (call.name, call.arguments) == ("Search (v2)", {"q": "x"})
    with pytest.raises(Reject):
        parse_bracket_calls(text)


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ("f()", "call", "square brackets"),
        ("[f(]", "call", "stays open"),
        ("[f(a='x)]", "call", "stays open"),
        ("[f]", "call", "is not a call NAME"),
        ("[(a=1)]", "call", "is not a call NAME"),
        ("[f(1)]", "call", "is not an argument KEY=VALUE"),
        ("[f(a=1, a=2)]", "duplicate-key", "'a' appears twice"),
        ("[f(a=g())]", "call", "can't be read"),
        ("[f(a=)]", "call", "can't be read"),
        ("[f(a={1: 2})]", "call", "can't be read"),
        ("[f(a={**b})]", "call", "can't be read"),
        ("[f(a=1j)]", "call", "can't be read"),
        ("[f(a=b'x')]", "call", "can't be read"),
        ("[f(a=1+)]", "call", "can't be read"),
    ],
)
def test_calls_that_do_not_add_up_are_rejected_by_name(text, rule, words):
    with pytest.raises(Reject) as caught:
        parse_bracket_calls(text)
    assert caught.value.rule == rule
    assert words in caught.value.reason


@pytest.mark.parametrize("text", ["", "[", "plain words", "[1, 2, 3]", '[{"name": "f"}]', "see [1] (a note)"])
def test_other_text_does_not_look_like_calls(text):
    assert not looks_like_calls(text)


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,8}", fullmatch=True)
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers() | st.text(), max_size=3)


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES.filter(str.isidentifier), VALUES, max_size=3)), min_size=1,
                max_size=3))  # fmt: skip
def test_calls_written_as_python_come_back(calls):
    text = ", ".join(
        f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in calls
    )
    assert [(call.name, call.arguments) for call in parse_bracket_calls(f"[{text}]")] == calls


@given(st.lists(st.text(alphabet="ab ", max_size=5), min_size=1))
def test_splitting_plain_text_is_splitting(parts):
    assert split_outside(",".join(parts), ",") == parts
