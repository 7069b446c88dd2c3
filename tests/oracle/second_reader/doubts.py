"""Why the documented rules refuse a conversation that can be understood."""

from __future__ import annotations

import itertools

from second_reader import meaning
from second_reader.said import Told, Turn
from second_reader.values import spelled

AFTER_A_RESULT = "the user after a result"  # a template may have a form for it


def doubts_of(told: Told) -> list[str]:
    """The reasons, in words; none where the row has to be written."""
    found = []
    turns = told.turns
    texts = [text for turn in turns for text in (turn.text, turn.thought)] + list(told.systems)
    texts += [call.name + call.arguments for turn in turns for call in turn.calls]
    texts += [text for turn in turns for result in turn.results for text in result.texts]
    if any(before.who == "results" and turn.who == "user" for before, turn in itertools.pairwise(turns)):
        found.append(AFTER_A_RESULT)
    if turns[0].who != "user":
        found.append("the first turn is not the user's")
    if any("{{idx}}" in turn.text for turn in turns if turn.who == "user"):
        found.append("a place holder of the engine's")
    if any(_is_half(text) for text in [*texts, spelled([tool.schema for tool in told.tools or ()])]):
        found.append("half of a character")
    if any(meaning.is_cut(text) for text in texts):
        found.append("a text that its client has cut")
    if any(meaning.holds_media([turn.text]) for turn in turns):
        found.append("a place for media")
    declared = None if told.tools is None else {tool.name for tool in told.tools}
    if declared is not None and any(call.name not in declared for turn in turns for call in turn.calls):
        found.append("a tool that is not declared")
    if any(_is_marked(turn) for turn in turns):
        found.append("a mark of the engine's inside of a text")
    return found


def _is_marked(turn: Turn) -> bool:
    in_thought = "<think>" in turn.thought or "</think>" in turn.thought or "<tool_call>" in turn.thought
    return in_thought or (bool(turn.calls) and "<tool_call>" in turn.text)


def _is_half(text: str) -> bool:
    """Whether a text holds half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
