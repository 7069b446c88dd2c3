"""The roles of turns, under all names in use for them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from lfwrap.data.formats.base import Reject


class Speaker(StrEnum):
    """A turn's speaker as the formats tell them apart."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    CALL = "call"
    RESULT = "result"


_ALIASES: dict[Speaker, tuple[str, ...]] = {
    Speaker.SYSTEM: ("system", "developer"),
    Speaker.USER: ("user", "human"),
    Speaker.ASSISTANT: ("assistant", "gpt", "model", "ai", "bot", "chatgpt"),
    Speaker.CALL: ("function_call", "tool_call", "function-call", "tool-call"),
    Speaker.RESULT: ("tool", "function", "observation", "tool_response", "function_response", "ipython", "tool_result"),
}
_SPEAKER_OF = {alias: speaker for speaker, aliases in _ALIASES.items() for alias in aliases}


def speaker_of(role: Any) -> Speaker:
    """The speaker that a role's name means.

    Raises:
        Reject: ``role``, nobody knows the name.

    >>> speaker_of("GPT"), speaker_of("observation")
    (<Speaker.ASSISTANT: 'assistant'>, <Speaker.RESULT: 'result'>)
    """
    speaker = _SPEAKER_OF.get(role.strip().lower()) if isinstance(role, str) else None
    if speaker is None:
        raise Reject("role", f"unknown role {role!r}")
    return speaker


def is_role(role: Any) -> bool:
    """Whether a value is the name of a role.

    >>> is_role("human"), is_role("narrator")
    (True, False)
    """
    return isinstance(role, str) and role.strip().lower() in _SPEAKER_OF
