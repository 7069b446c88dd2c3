"""Writing tools, calls, results and thoughts: each template's own way, and nothing that it can't say."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.convert.writer_tools import engine_row, tool_changes, tools_text
from lfwrap.data.formats.base import Reject
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall
from lfwrap.engine.chat_templates import chat_template

TOOL = Tool("get", "天气", {"type": "object", "properties": {"n": {"type": "integer", "enum": [1, 2]}, "any": True}})
CALL = ToolCall("get", {"city": "北京"}, id="1")
OTHER = ToolCall("get", {"city": "上海"}, id="2")


def row_of(*messages: Message, template: str = "qwen", tools=(TOOL,)) -> dict:
    return engine_row(Conversation((Message(Role.USER, "q"), *messages), tools=tools), template)


def values(row: dict) -> list[tuple[str, str]]:
    return [(turn["from"], turn["value"]) for turn in row["conversations"]][1:]


def turn(text: str = "", *calls: ToolCall, thought: str = "") -> Message:
    return Message(Role.ASSISTANT, text, thought=thought, calls=calls)


def result(text: str, call: ToolCall = CALL, **more) -> Message:
    return Message(Role.TOOL, text, name=call.name, call_id=call.id, **more)


ONE = '{"name": "get", "arguments": {"city": "北京"}}'
BOTH = '[{"name": "get", "arguments": {"city": "北京"}}, {"name": "get", "arguments": {"city": "上海"}}]'
TURNS = {
    "one call": (turn("", CALL), "qwen", ONE),
    "two calls": (turn("", CALL, OTHER), "qwen", BOTH),
    "text and call": (turn("Let me see.", CALL), "qwen", f"Let me see.\n<tool_call>{ONE}</tool_call>"),
    "text and calls": (turn("Hm", CALL, OTHER), "llama3", f"Hm\n<tool_call>{BOTH}</tool_call>"),
    "text and call with lfm2's marks": (turn("Hm", CALL), "lfm2", f"Hm\n<|tool_call_start|>{ONE}<|tool_call_end|>"),
    "thought and call": (turn("", CALL, thought="why"), "qwen3", f"<think>\nwhy\n</think>\n\n{ONE}"),
    "thought, text and call": (
        turn("t", CALL, thought="w"),
        "",
        f"<think>\nw\n</think>\n\nt\n<tool_call>{ONE}</tool_call>",
    ),
    "thought in seed_oss": (turn("a", thought="w"), "seed_oss", "<seed:think>w</seed:think>a"),
    "call after a thought in mistral_small": (
        turn("", CALL, thought="w"),
        "mistral_small",
        f"<think>\nw\n</think>\n\n{ONE}",
    ),
    "blank text beside a call": (turn(" \n", CALL), "qwen", ONE),
}


@pytest.mark.parametrize("case", TURNS)
def test_assistant_turns(case):
    message, template, expected = TURNS[case]
    assert values(row_of(message, template=template))[0][1] == expected


OBSERVATIONS = {
    "one": ((CALL,), (result("15"),), "qwen", "15"),
    "one failed": ((CALL,), (result("no city", is_error=True),), "qwen", "Error: no city"),
    "one that says so itself": ((CALL,), (result("error 4", is_error=True),), "qwen", "error 4"),
    "one for mistral": ((CALL,), (result('晴 "天"'),), "mistral", '"晴 \\"天\\""'),
    "JSON for mistral": ((CALL,), (result('{"t": 15}'),), "mistral", '{"t": 15}'),
    "NaN for mistral": ((CALL,), (result("NaN"),), "mistral", '"NaN"'),
    "two for qwen": (
        (CALL, OTHER),
        (result("15"), result("18", OTHER)),
        "qwen",
        "15\n</tool_response>\n<tool_response>\n18",
    ),
    "two for youtu": (
        (CALL, OTHER),
        (result("15"), result("18", OTHER)),
        "youtu",
        "15\n</tool_response>\n<tool_response>\n18",
    ),
    "two for llama3": (
        (CALL, OTHER),
        (result("15"), result("18", OTHER)),
        "llama3",
        '[{"name": "get", "content": "15"}, {"name": "get", "content": "18"}]',
    ),
    "two for any": (
        (CALL, OTHER),
        (result("晴"), result("18", OTHER)),
        "",
        '[{"name": "get", "content": "晴"}, {"name": "get", "content": "18"}]',
    ),
    "one for both": ((CALL, OTHER), (Message(Role.TOOL, "[15, 18]"),), "llama3", "[15, 18]"),
    "one of two": ((CALL, OTHER), (result("18", OTHER),), "llama3", '[{"name": "get", "content": "18"}]'),
}


@pytest.mark.parametrize("case", OBSERVATIONS)
def test_results_are_one_observation(case):
    calls, results, template, expected = OBSERVATIONS[case]
    written = values(row_of(turn("", *calls), *results, turn("done"), template=template))
    assert written[1] == ("observation", expected)
    assert len(written) == 3


REFUSED = {
    "parallel calls": (turn("", CALL, OTHER), "glm4", "parallel-calls"),
    "text beside a call": (turn("t", CALL), "mistral", "text-beside-call"),
    "thought before a call": (turn("", CALL, thought="t"), "gemma3", "thought-beside-call"),
    "the mark of a call in the text": (turn("say <tool_call>", CALL), "qwen", "call-mark"),
    "a whole call in the thought": (turn("", CALL, thought="a <tool_call>x</tool_call>"), "qwen3", "call-mark"),
    "the mark of a thought in a thought": (turn("a", thought="x</think>y"), "qwen3", "thought-mark"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_template_cannot_say_is_refused(case):
    message, template, rule = REFUSED[case]
    with pytest.raises(Reject) as caught:
        row_of(message, template=template)
    assert caught.value.rule == rule


def test_the_turn_number_placeholder_is_refused():
    with pytest.raises(Reject) as caught:
        engine_row(Conversation((Message(Role.USER, "{{idx}}"), turn("", CALL)), tools=(TOOL,)), "qwen")
    assert caught.value.rule == "placeholder"


def test_orders_that_the_engine_drops_are_refused():
    for messages in ((turn("a"), turn("b")), (turn("", CALL), result("x"), Message(Role.USER, "?"), turn("b")), ()):
        with pytest.raises(Reject):
            row_of(*messages, template="mistral")


def test_marks_inside_of_arguments_are_escaped_without_changing_the_value():
    call = ToolCall("get", {"text": "a </tool_call> <think>\nb\n</think>\n\n c"})
    written = values(row_of(turn("t", call)))[0][1]
    inner = written.removeprefix("t\n<tool_call>").removesuffix("</tool_call>")
    assert "<" not in inner
    assert json.loads(inner)["arguments"] == call.arguments


def test_tools_are_wrapped_functions_in_json_text():
    tools = json.loads(row_of(turn("", CALL))["tools"])
    assert tools == [
        {"type": "function", "function": {"name": "get", "description": "天气", "parameters": TOOL.parameters}}
    ]
    assert "天气" in row_of(turn("", CALL))["tools"]


@pytest.mark.parametrize("template", ["default", "gemma4"])
def test_families_that_print_properties_get_what_they_can_print(template):
    properties = json.loads(row_of(turn("a"), template=template)["tools"])[0]["function"]["parameters"]["properties"]
    enum = [1, 2] if template == "gemma4" else ["1", "2"]  # which gemma4 does not print
    assert properties == {"n": {"type": "integer", "enum": enum}, "any": {}}


def test_every_value_is_text():
    row = row_of(turn("t", CALL, thought="h"), result("15"), turn("a"))
    assert list(row) == ["conversations", "system", "tools"]
    assert all(set(part) == {"from", "value"} and isinstance(part["value"], str) for part in row["conversations"])


CHATML = "<|im_end|>\n<|im_start|>user\n"
SAID = Message(Role.USER, "And\ntomorrow?")
TWO = (result("15"), result("18", OTHER))
JOINED = {
    "qwen": (
        (CALL,),
        (result("15"),),
        "qwen",
        ("human", "<tool_response>\n15\n</tool_response><|im_end|>\n<|im_start|>user\nAnd\ntomorrow?"),
    ),
    "two results for qwen3": (
        (CALL, OTHER),
        TWO,
        "qwen3",
        (
            "human",
            f"<tool_response>\n15\n</tool_response>\n<tool_response>\n18\n</tool_response>{CHATML}And\ntomorrow?",
        ),
    ),
    "llama3": (
        (CALL,),
        (result("15 "),),
        "llama3",
        ("observation", "15 <|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd\ntomorrow?"),
    ),
    "two results for chatml": (
        (CALL, OTHER),
        TWO,
        "chatml",
        (
            "observation",
            f'[{{"name": "get", "content": "15"}}, {{"name": "get", "content": "18"}}]{CHATML}And\ntomorrow?',
        ),
    ),
    "a failure for glm4": (
        (CALL,),
        (result("no city", is_error=True),),
        "glm4",
        ("observation", "Error: no city<|user|>\nAnd\ntomorrow?"),
    ),
    "nothing in the result": (
        (CALL,),
        (result(""),),
        "llama4",
        ("observation", "<|eot|><|header_start|>user<|header_end|>\n\nAnd\ntomorrow?"),
    ),
}


@pytest.mark.parametrize("case", JOINED)
def test_the_user_after_a_result_is_one_turn_with_it(case):
    calls, results, template, expected = JOINED[case]
    row = row_of(turn("", *calls), *results, SAID, turn("done"), template=template)
    assert values(row)[1:] == [expected, ("gpt", "done")]


@pytest.mark.parametrize("template", ["", "mistral", "gemma3", "lfm2", "glm4_moe", "smollm2", "qwen2_vl"])
def test_no_template_says_what_its_models_do_not_read(template):
    with pytest.raises(Reject) as caught:
        row_of(turn("", CALL), result("15"), SAID, turn("done"), template=template)
    assert caught.value.rule == "user-after-result"


def test_a_user_turn_elsewhere_stays_what_it_is():
    row = row_of(turn("", CALL), result("15"), turn("It is 15."), SAID, turn("done"), template="qwen")
    assert [speaker for speaker, _ in values(row)] == ["function_call", "observation", "gpt", "human", "gpt"]
    assert values(row)[3][1] == SAID.text


def test_a_result_in_a_users_turn_may_not_hold_what_the_engine_replaces_there():
    """Where the turn is the user's, the engine puts a number for it; in an observation it stays."""
    said = (turn("", CALL), result("a {{idx}} b"), SAID, turn("done"))
    with pytest.raises(Reject) as caught:
        row_of(*said, template="qwen")
    assert caught.value.rule == "placeholder"
    assert "{{idx}}" in values(row_of(*said, template="llama3"))[1][1]


@pytest.mark.parametrize(
    ("template", "field", "kinds"),
    [
        ("", {"type": "integer", "enum": [1, 2]}, {"enum-to-text": 1}),
        ("alpaca", {"enum": [True, None, "a"]}, {"enum-to-text": 1}),
        ("alpaca", {"enum": ["a", "b"]}, {}),
        ("alpaca", True, {"property-schema-emptied": 1}),
        ("alpaca", {"items": False}, {"items-schema-emptied": 1}),
        ("gemma4", {"enum": [1, 2]}, {}),
        ("gemma4", False, {"property-schema-emptied": 1}),
        ("qwen", {"enum": [1, 2]}, {}),
        ("qwen", True, {}),
    ],
)
def test_what_a_template_cannot_print_of_a_schema_is_changed_and_counted(template, field, kinds):
    tool = Tool("get", "", {"type": "object", "properties": {"a": field}})
    assert tool_changes([tool], template) == kinds
    written = json.loads(tools_text([tool], chat_template(template).family))[0]["function"]["parameters"]
    assert (written["properties"]["a"] == field) is (not kinds)
