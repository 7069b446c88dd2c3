"""What a template adds to a row, from the shipped table."""

from __future__ import annotations

import pytest

from lfwrap.engine.chat_templates import chat_template_names
from lfwrap.engine.template_tokens import template_tokens


def words(text):
    return len(text.split())


def row(*speakers, system="", tools=""):
    return {"system": system, "tools": tools, "conversations": [{"from": who, "value": "x"} for who in speakers]}


def test_every_template_of_the_engine_has_its_tokens():
    names = chat_template_names()
    assert len(names) >= 100
    assert all(template_tokens(name, words) is not None for name in names)
    assert template_tokens("none-such", words) is None


def test_turns_systems_and_tools_add_tokens():
    frames = template_tokens("qwen", words)
    one = frames.of_row(row("human", "gpt"))
    assert frames.of_row(row("human", "gpt", "human", "gpt")) > one
    assert frames.of_row(row("human", "gpt", tools='[{"name": "f"}]')) > one
    assert frames.of_row(row("human", "function_call", "observation", "gpt")) > one


def test_a_default_system_counts_where_a_row_has_none():
    frames = template_tokens("qwen", words)
    own = frames.of_row(row("human", "gpt", system="short"))
    assert frames.of_row(row("human", "gpt")) == own + words(
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    )


@pytest.mark.parametrize("template", ["qwen3", "deepseekr1"])
def test_reasoning_templates_add_an_empty_thought_to_each_answer(template):
    frames = template_tokens(template, len)
    assert frames.answered > 0
    both = frames.of_row(row("human", "gpt", "human", "gpt")) - frames.of_row(row("human", "gpt"))
    assert both == frames.turns["human"] + frames.turns["gpt"] + frames.answered
