"""Harmony's channels: what the assistant thinks (analysis), says on the way (commentary) and answers (final)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import parse_arguments
from lfwrap.data.schema.conversation import ToolCall

_CHANNELS = ("analysis", "commentary", "final")
_FUNCTIONS = "functions."
_MESSAGE = re.compile(
    r"\s*(?:<\|start\|>assistant)?(?: to=(?P<before>[^\s<]+))?<\|channel\|>(?P<channel>\w*)(?: to=(?P<after>[^\s<]+))?"
    r"\s*(?:(?:<\|constrain\|>)?\w+)?<\|message\|>(?P<text>[^<]*(?:<(?!\|(?:end|return|call|start)\|>)[^<]*)*)"
    r"(?:<\|end\|>|<\|return\|>|<\|call\|>|(?=<\|start\|>)|\s*\Z)"
)


@dataclass(frozen=True, slots=True)
class Said:
    """What one message of a channel adds to the assistant's turn."""

    text: str = ""
    thought: str = ""
    calls: Sequence[ToolCall] = ()


def said_on(channel: str, recipient: str, text: str, notes: RowNotes) -> Said:
    """A message of a channel: a thought, a call of its recipient, or text.

    Raises:
        Reject: ``channel``, there is no such channel, or something else than a function is spoken to.

    >>> said_on("analysis", "", "2 + 3", RowNotes()).thought
    '2 + 3'
    >>> said_on("commentary", "functions.add", '{"a": 2}', RowNotes()).calls
    (ToolCall(name='add', arguments={'a': 2}, id=''),)
    """
    if channel not in _CHANNELS:
        raise Reject("channel", f"unknown channel {channel!r}: expected {', '.join(_CHANNELS)}")
    if recipient and recipient not in ("user", "all"):
        name = recipient.removeprefix(_FUNCTIONS)
        if name == recipient and "." in recipient:
            raise Reject("channel", f"a message goes to {recipient!r}, which is no function of the row")
        return Said(calls=(ToolCall(name, parse_arguments(text, notes)),))
    return Said(thought=text) if channel == "analysis" else Said(text=text)


def split_channels(text: str, notes: RowNotes) -> list[Said]:
    """The messages of an assistant's text that is written in harmony's own marks.

    Raises:
        Reject: ``channel``, the marks can't be read.

    >>> text = "<|channel|>analysis<|message|>2 + 3<|end|><|start|>assistant<|channel|>final<|message|>5<|return|>"
    >>> [said.thought or said.text for said in split_channels(text, RowNotes())]
    ['2 + 3', '5']
    """
    messages: list[Said] = []
    position = 0
    while position < len(text.rstrip()):
        found = _MESSAGE.match(text, position)
        if found is None or found.end() == position:
            raise Reject("channel", "the text holds channel marks that can't be read")
        recipient = found["before"] or found["after"] or ""
        messages.append(said_on(found["channel"], recipient, found["text"], notes))
        position = found.end()
    notes.repair("channels-split")
    return messages


def function_name(recipient: str) -> str:
    """A function's own name.

    >>> function_name("functions.add")
    'add'
    """
    return recipient.removeprefix(_FUNCTIONS)
