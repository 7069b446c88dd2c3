"""Numbers in call arguments: none is changed without being counted, and none is too large."""

import json
from pathlib import Path

import pytest

from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.data.formats.parts.arguments import SpelledFloat, dump_key, own_floats, parse_arguments, spelled_float
from lfwrap.data.formats.parts.texts import result_text
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.blocks import parse_exactly
from lfwrap.data.request import Request
from lfwrap.data.schema.conversation import Role, Tool

TOOL = {"type": "function", "function": {"name": "pay", "description": "d", "parameters": {"type": "object"}}}


def row(arguments: str, *, as_text: bool) -> str:
    """An OpenAI row as JSON text, its arguments spelled as they are here."""
    held = json.dumps(arguments) if as_text else arguments
    call = f'{{"id":"a","type":"function","function":{{"name":"pay","arguments":{held}}}}}'
    turns = (
        f'[{{"role":"user","content":"{len(arguments)}"}},{{"role":"assistant","content":"","tool_calls":[{call}]}}]'
    )
    return f'{{"messages":{turns},"tools":[{json.dumps(TOOL)}]}}'


@pytest.mark.parametrize("layout", ["jsonl", "json"])
@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    ("spelled", "written", "respelled"),
    [
        ("12.5", 12.5, 0),
        ("12.50", 12.5, 1),
        ("1E2", 100.0, 1),
        ("-0.0", -0.0, 0),
        ("123456789012345678901234567890", 123456789012345678901234567890, 0),
        ('[1.0, 2.10, {"x": 3.00}]', [1.0, 2.1, {"x": 3.0}], 2),
    ],
)  # fmt: skip
def test_every_number_that_is_respelled_is_counted(
    *, tmp_path: Path, layout: str, as_text: bool, spelled: str, written: object, respelled: int
) -> None:
    text = row(f'{{"amount": {spelled}}}', as_text=as_text)
    source = tmp_path / f"a.{layout}"
    source.write_text(text if layout == "jsonl" else f"[{text}]", encoding="utf-8")
    report = prepare(Request((str(source),), tmp_path / "o", "x"))
    assert (report.rows_out, report.repairs["number-respelled"]) == (1, respelled)
    value = json.loads(json.loads((tmp_path / "o" / "x.jsonl").read_text())["conversations"][1]["value"])
    assert value["arguments"] == {"amount": written}


def test_numbers_beyond_64_bits_tell_rows_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(row(f'{{"n": {1 << 70}{end}}}', as_text=True) for end in (1, 2, 1)))
    report = prepare(Request((str(tmp_path / "a.jsonl"),), tmp_path / "o", "x"))
    assert (report.rows_out, report.duplicates) == (2, 1)


def test_a_respelled_number_stays_a_number_everywhere() -> None:
    value = spelled_float("2.50")
    assert isinstance(value, SpelledFloat)
    assert dump_key({"default": value}) == '{"default":2.5}'
    assert type(own_floats([value], RowNotes())[0]) is float
    notes = RowNotes()
    assert parse_arguments({"a": {"b": [value]}}, notes) == {"a": {"b": [2.5]}}
    assert notes.repairs == {"number-respelled": 1}


def test_the_names_of_a_catalogue_are_listed_once() -> None:
    options = ConvertOptions(tools={name: Tool(name) for name in "abc"})
    assert options.tool_names == ("a", "b", "c")


def called(*results: str) -> str:
    """Turns of ShareGPT in which two calls have results, written as the engine writes several."""
    calls = json.dumps([{"name": "pay", "arguments": {"n": number}} for number, _ in enumerate(results)])
    named = ", ".join(f'{{"name": "pay", "content": {result}}}' for result in results)
    turns = [("human", "Pay."), ("function_call", calls), ("observation", f"[{named}]"), ("gpt", "Done.")]
    return json.dumps({"conversations": [{"from": speaker, "value": text} for speaker, text in turns]})


def answered(content: str) -> str:
    """Messages in which a result stands as JSON."""
    call = '{"id":"a","type":"function","function":{"name":"pay","arguments":{}}}'
    turns = (
        '{"role":"user","content":"Pay."},'
        f'{{"role":"assistant","content":"","tool_calls":[{call}]}},'
        f'{{"role":"tool","tool_call_id":"a","content":{content}}},{{"role":"assistant","content":"Done."}}'
    )
    return f'{{"messages":[{turns}]}}'


def observed(record: str, name: str) -> tuple[list[str], int]:
    """The results of a row, and how many of their numbers were respelled."""
    notes = RowNotes()
    conversation = FORMATS[name].convert(parse_exactly(record), ConvertOptions(), notes)
    texts = [message.text for message in conversation.messages if message.role is Role.TOOL]
    return texts, notes.repairs["number-respelled"]


def test_a_result_that_is_written_anew_counts_its_numbers() -> None:
    assert observed(answered('{"price": 12.50, "rates": [1E2, 0.5]}'), "openai") == (
        ['{"price": 12.5, "rates": [100.0, 0.5]}'],
        2,
    )
    assert observed(called('{"price": 12.50}', '"paid 12.50"'), "sharegpt") == (
        ['{"price": 12.5}', "paid 12.50"],
        1,
    )


@pytest.mark.parametrize(("result", "respelled"), [('{"price": 12.50}', 1), ('{"price": 12.5}', 0)])
def test_a_result_of_mcp_in_a_text_counts_its_numbers(result: str, respelled: int) -> None:
    notes = RowNotes()
    text = f'{{"content": [], "structuredContent": {result}, "isError": false}}'
    assert result_text(text, notes, mcp=True) == ('{"price": 12.5}', False)
    assert notes.repairs["number-respelled"] == respelled


def test_a_result_with_a_key_that_comes_twice_is_not_written_anew() -> None:
    texts, respelled = observed(called('{"sum": 1, "sum": 2.50}', '"paid"'), "sharegpt")
    assert len(texts) == 1
    assert '{"sum": 1, "sum": 2.50}' in texts[0]
    assert not respelled
