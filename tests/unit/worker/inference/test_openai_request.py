"""OpenAI's requests in the engine's words."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from lfwrap_worker.inference.openai_request import engine_request

JOINING = SimpleNamespace(format_observation=SimpleNamespace(slots=["<tool_response>\n{{content}}\n</tool_response>"]))
LISTING = SimpleNamespace(format_observation=SimpleNamespace(slots=["{{content}}"]))
ASK = {"role": "user", "content": "Weather?"}


def _call(name: str, arguments: str) -> dict:
    return {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}


def _messages(*messages, template=JOINING):
    return engine_request({"messages": list(messages)}, template)["messages"]


def test_arguments_become_objects_as_in_training():
    call = {"role": "assistant", "content": None, "tool_calls": [_call("f", '{"city": "北京"}')]}
    assert _messages(ASK, call)[1] == {
        "role": "function",
        "content": '{"name": "f", "arguments": {"city": "北京"}}',
    }


def test_several_calls_are_a_list_and_no_arguments_an_object():
    call = {"role": "assistant", "tool_calls": [_call("f", "{}"), _call("g", "")]}
    assert json.loads(_messages(ASK, call)[1]["content"]) == [
        {"name": "f", "arguments": {}},
        {"name": "g", "arguments": {}},
    ]


@pytest.mark.parametrize(
    ("template", "content"),
    [
        (JOINING, "21\n</tool_response>\n<tool_response>\n22"),
        (LISTING, '[{"name": "f", "content": "21"}, {"name": "g", "content": "22"}]'),
    ],
)
def test_results_in_a_row_are_one_turn(template, content):
    call = {"role": "assistant", "tool_calls": [_call("f", "{}"), _call("g", "{}")]}
    results = [{"role": "tool", "content": "21"}, {"role": "tool", "content": [{"type": "text", "text": "22"}]}]
    found = _messages(ASK, call, *results, {"role": "assistant", "content": "So."}, ASK, template=template)
    assert [message["role"] for message in found] == ["user", "function", "tool", "assistant", "user"]
    assert found[2]["content"] == content


def test_what_the_engine_misreads_is_put_right():
    tool = {"type": "function", "function": {"name": "f"}}
    body = {"messages": [{"role": "developer", "content": "Be brief."}, ASK], "presence_penalty": 0.0, "n": None,
            "max_completion_tokens": 9, "tools": [tool]}  # fmt: skip
    found = engine_request(body, JOINING)
    assert (found["max_tokens"], found["n"], found["stream"]) == (9, 1, False)
    assert "presence_penalty" not in found
    assert found["messages"][0]["role"] == "system"
    assert found["tools"][0]["function"] == {
        "name": "f", "description": "", "parameters": {"type": "object", "properties": {}},
    }  # fmt: skip
    assert engine_request({**body, "tool_choice": "none"}, JOINING)["tools"] is None


@pytest.mark.parametrize(
    "body",
    [{}, {"messages": [{"content": "x"}]}, {"messages": [{"role": "assistant", "tool_calls": [_call("f", "{")]}]}],
)
def test_a_broken_request_is_told(body):
    with pytest.raises((KeyError, ValueError)):
        engine_request(body, JOINING)


GLM = ("observation", "", "<|user|>\n")
QWEN = ("user", "<tool_response>\n", "\n</tool_response><|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize(
    ("template", "form", "role", "content"),
    [
        (LISTING, GLM, "tool", "21<|user|>\nAnd now?"),
        (JOINING, QWEN, "user", "<tool_response>\n21\n</tool_response><|im_end|>\n<|im_start|>user\nAnd now?"),
    ],
)
@pytest.mark.parametrize("said", ["And now?", [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]])
def test_words_after_a_result_stand_in_one_turn_with_it(template, form, role, content, said):
    call = {"role": "assistant", "tool_calls": [_call("f", "{}")]}
    messages = [ASK, call, {"role": "tool", "content": "21"}, {"role": "user", "content": said}]
    found = engine_request({"messages": messages}, template, form)["messages"]
    assert [message["role"] for message in found] == ["user", "function", role]
    assert found[2]["content"] == content


def test_words_after_a_result_that_no_form_is_known_for_stay_a_turn():
    """The engine says then that it can't take it; so does it of an image."""
    call = {"role": "assistant", "tool_calls": [_call("f", "{}")]}
    before = [ASK, call, {"role": "tool", "content": "21"}]
    assert [message["role"] for message in _messages(*before, ASK)] == ["user", "function", "tool", "user"]
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    found = engine_request({"messages": [*before, image]}, JOINING, QWEN)["messages"]
    assert [message["role"] for message in found] == ["user", "function", "tool", "user"]
