"""Text out of whatever stands where text is expected: parts, MCP results, thoughts, escapes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.texts import plain_text, readable_json, result_text, split_thought


def rejected(call, *arguments) -> tuple[str, str]:
    with pytest.raises(Reject) as caught:
        call(*arguments, RowNotes())
    return caught.value.rule, caught.value.reason


@pytest.mark.parametrize(
    ("value", "text", "repairs"),
    [
        ("as it is", "as it is", {}),
        (None, "", {"null-to-empty": 1}),
        (float("nan"), "", {"null-to-empty": 1}),
        (True, "true", {"number-to-text": 1}),
        (3, "3", {"number-to-text": 1}),
        (0.5, "0.5", {"number-to-text": 1}),
        ({"type": "text", "text": "one"}, "one", {"parts-to-text": 1}),
        ([{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}, "c"], "a\nb\nc",
         {"parts-to-text": 1}),
        ([{"type": "text", "value": "kept under value"}], "kept under value", {"parts-to-text": 1}),
        ([{"type": "refusal", "refusal": "I can't."}], "I can't.", {"parts-to-text": 1}),
        ([], "", {"parts-to-text": 1}),
    ],
)  # fmt: skip
def test_what_stands_for_text_becomes_text(value, text, repairs):
    notes = RowNotes()
    assert plain_text(value, "message 1", notes) == text
    assert notes.repairs == repairs


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "media", "type 'image_url'"),
        ([{"type": "input_audio"}], "media", "type 'input_audio'"),
        ([{"type": "text", "text": 3}], "media", "type 'text'"),
        ([3], "not-text", "neither text nor an object"),
        ({1, 2}, "not-text", "message 7 is not text"),
        (float("inf"), "not-json", "beyond all bounds"),
        (float("-inf"), "not-json", "beyond all bounds"),
    ],
)
def test_what_can_not_be_text_names_the_message(value, rule, words):
    found = rejected(plain_text, value, "message 7")
    assert found[0] == rule
    assert "message 7" in found[1]
    assert words in found[1]


@pytest.mark.parametrize(
    ("text", "thought", "rest", "is_repaired"),
    [
        ("no thought", "", "no thought", False),
        ("<think>\nhm\n</think>\n\nyes", "hm", "yes", False),
        ("<think>hm</think>yes", "hm", "yes", True),
        ("  <thinking>a\nb</thinking> yes", "a\nb", "yes", True),
        ("yes <think>late</think>", "", "yes <think>late</think>", False),
        ("<think>never closed", "", "<think>never closed", False),
        ("<think>crossed</thinking>yes", "", "<think>crossed</thinking>yes", False),
    ],
)
def test_a_thought_is_only_what_stands_first_and_is_closed(text, thought, rest, is_repaired):
    notes = RowNotes()
    assert split_thought(text, notes) == (thought, rest)
    assert bool(notes.repairs["think-newlines"]) is is_repaired


@pytest.mark.parametrize("text", ["<think></think>yes", "<think>\n\n</think>\n\nyes", " <thinking> </thinking> yes"])
def test_an_empty_thought_is_left_out_and_counted(text):
    notes = RowNotes()
    assert split_thought(text, notes) == ("", "yes")
    assert notes.repairs == {"empty-thought-dropped": 1}


IMAGE = {"type": "image", "mimeType": "image/png", "data": "AAAA"}


@pytest.mark.parametrize(
    ("value", "text", "is_error"),
    [
        ("plain", "plain", False),
        (None, "", False),
        ({"a": 1}, '{"a": 1}', False),
        ([1, 2], "[1, 2]", False),
        ("北京", "北京", False),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb", False),
        ({"content": [{"type": "text", "text": "no"}], "isError": True}, "no", True),
        ({"content": [{"type": "text", "text": "no"}], "is_error": True}, "no", True),
        ({"content": [], "isError": True}, "", True),
        ({"content": [], "isError": False, "structuredContent": {"a": "北"}}, '{"a": "北"}', False),
        ({"structuredContent": [1]}, "[1]", False),
        ([{"type": "text", "text": "listed"}], "listed", False),
        ('{"content": [{"type": "text", "text": "encoded"}]}', "encoded", False),
        ('{"content": "is what it holds"}', '{"content": "is what it holds"}', False),
        ('{"content": broken', '{"content": broken', False),
        ({"content": [{"type": "resource_link", "uri": "file:///a"}]}, "file:///a", False),
        ({"content": [{"type": "resource", "resource": {"uri": "u", "text": "inside"}}]}, "inside", False),
    ],
)
def test_a_tools_result_as_text(value, text, is_error):
    notes = RowNotes()
    assert result_text(value, notes, mcp=True) == (text, is_error)
    assert notes.warnings == []


@pytest.mark.parametrize(
    "value",
    [
        {"content": [{"type": "text", "text": "a"}]},
        {"structuredContent": {"a": 1}, "status": "failed", "error": "disk full"},
        {"id": 9, "content": [{"type": "text", "text": "See you at nine."}]},
        {"version": 1, "type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "x"}]}]},
    ],
)
@pytest.mark.parametrize("mcp", [False, True])
def test_the_json_of_other_tools_stays_as_it_is(value, mcp):
    if mcp and value.keys() == {"content"}:
        return  # that is MCP's
    as_text = json.dumps(value)
    for given_value in (value, as_text):
        assert result_text(given_value, RowNotes(), mcp=mcp) == (as_text, False)


@pytest.mark.parametrize(
    ("part", "placeholder"),
    [
        (IMAGE, "[image: image/png]"),
        ({"type": "audio", "data": "AAAA"}, "[audio: of unknown type]"),
        ({"type": "resource", "resource": {"uri": "u", "blob": "AA", "mimeType": "application/pdf"}},
         "[resource: application/pdf]"),
    ],
)  # fmt: skip
def test_media_in_a_result_becomes_a_placeholder_with_a_warning(part, placeholder):
    notes = RowNotes()
    value = {"content": [{"type": "text", "text": "see"}, part]}
    assert result_text(value, notes, mcp=True) == (f"see\n{placeholder}", False)
    [(rule, message)] = notes.warnings
    assert rule == "media-dropped"
    assert "AAAA" not in message


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        (r'{"city": "\u5317\u4eac"}', '{"city": "北京"}'),
        (r'{"a": "\ud83d\ude00"}', '{"a": "😀"}'),
        (r'{"a": "\u0022\u005c\u000a"}', r'{"a": "\u0022\u005c\u000a"}'),
        (r'{"a": "\u4eac\ud83d\ude00"}', '{"a": "京😀"}'),
        (r'{"a": "\ud83d\u5317\ud83d\ude00"}', r'{"a": "\ud83d北😀"}'),
        (r'{"a": "\\u5317"}', r'{"a": "\\u5317"}'),
        (r'{"a": "\ud83d"}', r'{"a": "\ud83d"}'),
        (r"C:\u5317 is not JSON", r"C:\u5317 is not JSON"),
        (r'{"n": 1.50,  "a": "\u00e9"}', '{"n": 1.50,  "a": "é"}'),
    ],
)
def test_only_escapes_of_printable_characters_in_json_are_undone(text, readable):
    notes = RowNotes()
    assert readable_json(text, notes) == readable
    assert bool(notes.repairs["unicode-escapes"]) is (text != readable)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES)
def test_readable_json_means_the_same_as_before(value):
    escaped = json.dumps(value)
    assert json.loads(readable_json(escaped, RowNotes())) == json.loads(escaped)
    once = readable_json(escaped, RowNotes())
    assert readable_json(once, RowNotes()) == once


@given(st.text(), st.text())
def test_a_thought_written_the_engines_way_comes_back(thought, rest):
    text = f"<think>\n{thought.strip()}\n</think>\n\n{rest}"
    if "</think" in thought or rest[:1].isspace():
        return
    assert split_thought(text, RowNotes()) == (thought.strip(), rest)


@pytest.mark.parametrize("text", ["<think>never closed", "\n<thinking>a\nb", "<think>crossed and cut"])
def test_a_thought_that_never_ends_is_warned_about(text):
    notes = RowNotes()
    assert split_thought(text, notes) == ("", text)
    assert [rule for rule, _ in notes.warnings] == ["open-thought"]


def test_an_image_in_a_result_of_anthropics_says_its_type():
    part = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    assert result_text([{"type": "text", "text": "see"}, part], RowNotes())[0] == "see\n[image: image/png]"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (
            {"type": "search_result", "source": "u", "title": "t", "content": [{"type": "text", "text": "found"}]},
            "found",
        ),
        ({"type": "search_result", "content": [{"type": "text", "text": t} for t in ("a ", "b")]}, "a b"),
        ({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "the page"}}, "the page"),
    ],
)
def test_text_in_the_parts_of_a_result_is_kept(part, text):
    notes = RowNotes()
    assert result_text([part], notes) == (text, False)
    assert not notes.warnings


def test_a_document_that_is_no_text_is_a_placeholder():
    notes = RowNotes()
    part = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}
    assert result_text([part], notes) == ("[document: application/pdf]", False)
    assert notes.warnings
