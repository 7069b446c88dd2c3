"""A long run of what upsets a search: every reading of a text ends in time that grows with the text alone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from lfwrap.data.convert import validate
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.mcp_wire import wire_cuts
from lfwrap.data.formats.parts import bracket_calls, calls, channels, texts
from lfwrap.data.schema.conversation import Conversation, Message, Role
from lfwrap.data.schema.redaction import redact
from lfwrap.engine.chat_templates import chat_template

# Squared, such a text would take minutes.
pytestmark = pytest.mark.timeout(40)
SIZE = 250_000
PIECES = {
    "spaces": " ",
    "lines": "\n",
    "marks of calls": "<tool_call>",
    "marks of results": "<tool_response>\n",
    "marks of thoughts": "<think>",
    "marks of channels": "<|channel|>a ",
    "starts of tokens": "eyJabcdefghij-",
    "one word with a key": "A_KEY_",
    "keys": "API_KEY= ",
    "addresses": "ftp://a:b ",
    "key blocks": "-----BEGIN ",
    "dots": ".",
    "dots and digits": "...1,",
    "open brackets": "[ ",
    "turns": "\nUSER ",
    "quotes": " '",
    "escapes": "\\u00e9\\",
    "assignments": "f(a='b', ",
    "backslashes": "\\",
    "braces": '{"name": "',
}


def of_format(name: str, record: Callable[[str], dict[str, Any]]) -> Callable[[str], Any]:
    return lambda text: FORMATS[name].convert(record(text), ConvertOptions(), RowNotes())


def turns(text: str) -> dict[str, Any]:
    tools = '[{"name": "f", "parameters": {}}]'
    values = (("human", "q"), ("function_call", '{"name": "f", "arguments": {}}'), ("observation", text), ("gpt", text))
    return {"conversations": [{"from": role, "value": value} for role, value in values], "tools": tools}


READINGS: dict[str, Callable[[str], Any]] = {
    "secrets": redact,
    "rules": lambda text: validate.validate(
        Conversation((Message(Role.USER, text), Message(Role.ASSISTANT, text))), chat_template("qwen")
    ),
    "thoughts": lambda text: texts.split_thought(f"<think>{text}", RowNotes()),
    "JSON": lambda text: texts.readable_json(text, RowNotes()),
    "call blocks": lambda text: calls.parse_call_text(text, RowNotes()),
    "has blocks": calls.has_call_block,
    "channels": lambda text: channels.split_channels(f"<|channel|>final<|message|>{text}", RowNotes()),
    "channels' marks": lambda text: channels.split_channels(text, RowNotes()),
    "brackets": lambda text: bracket_calls.parse_bracket_calls(f"[{text}]"),
    "looks like brackets": lambda text: bracket_calls.looks_like_calls(f"[{text}]"),
    "cut marks": wire_cuts.find_cut,
    "cut marks in broken": wire_cuts.cut_in_broken,
    "sharegpt": of_format("sharegpt", turns),
    "glaive": of_format("glaive", lambda text: {"system": text, "chat": f"USER: q{text}\n\n\nASSISTANT: {text}"}),
    "toolace": of_format("toolace", lambda text: {"system": text, **turns(text)}),
    "openai": of_format(
        "openai", lambda text: {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    ),
}


@pytest.mark.parametrize(("reading", "piece"), list(itertools.product(READINGS, PIECES)))
def test_a_long_text_is_read_in_time(reading: str, piece: str) -> None:
    text = PIECES[piece] * (SIZE // len(PIECES[piece]))
    for tried in (text, f"API_KEY {text} sk-_key eyJ", f"<tool_response>{text}x", f"{text}</tool_call>"):
        with contextlib.suppress(Reject):
            READINGS[reading](tried)
