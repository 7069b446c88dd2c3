"""Conversations with tools, calls, results or thoughts as the engine's rows, as the chosen template writes them."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lfwrap.data.formats.base import Reject
from lfwrap.data.formats.parts.arguments import dump_key, refuse_constant
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall
from lfwrap.data.schema.rules import PLACEHOLDER
from lfwrap.engine.chat_templates import ChatTemplate, ObservationStyle, Saying, chat_template

_RESULTS_JOINT = "\n</tool_response>\n<tool_response>\n"
_ERROR = "Error: "
_KNOWN_TOOLS = 1 << 15  # more than the largest catalogues: with distractors each may stand in any row
# These print properties one by one and crash on a schema that is `true`, or on an enum of numbers.
_PRINTING_FAMILIES = ("default", "gemma4")
_ENUM_FAMILIES = ("default",)  # of these, those that print enums and items at all


def engine_row(conversation: Conversation, template: str) -> dict[str, Any]:
    """A conversation as one row of text columns: ``conversations`` (from/value), ``system`` and ``tools``.

    Args:
        conversation: the row.
        template: the chat template to write for; empty for the form that most templates take.

    Raises:
        Reject: the template can't say it; the engine would crash on it or train something else.
        UsageError: the engine has no such template.
    """
    facts = chat_template(template)
    turns = [*_turns(conversation.messages, facts)]
    _check_order(turns)
    return {
        "conversations": turns,
        "system": conversation.system,
        "tools": tools_text(conversation.tools, facts.family) if conversation.tools else "",
    }


def _check_order(turns: Sequence[Mapping[str, str]]) -> None:
    """The engine drops a row whose turns don't alternate between what is read and what is learnt."""
    for number, turn in enumerate(turns):
        if (turn["from"] in ("human", "observation")) != (number % 2 == 0):
            rule = "user-after-result" if turn["from"] == "human" else "order"
            raise Reject(rule, f"the engine has no place for turn {number + 1} ({turn['from']}) there")
    if len(turns) % 2:
        raise Reject("order", "the last turn is not the assistant's")


def _turns(messages: Sequence[Message], facts: ChatTemplate) -> Iterator[dict[str, str]]:
    calls: tuple[ToolCall, ...] = ()
    results: list[Message] = []
    for message in messages:
        if message.role is Role.TOOL:
            results.append(message)
            continue
        if message.role is Role.USER:
            yield from _user_turns(message.text, observation_text(results, calls, facts) if results else None, facts)
        else:
            if results:
                yield {"from": "observation", "value": observation_text(results, calls, facts)}
            calls = message.calls
            yield {"from": "function_call" if calls else "gpt", "value": assistant_text(message, facts)}
        results = []
    if results:
        yield {"from": "observation", "value": observation_text(results, calls, facts)}


def _user_turns(text: str, observed: str | None, facts: ChatTemplate) -> Iterator[dict[str, str]]:
    """What the user says, in one turn with the results right before it where the template has a form for that."""
    joined = facts.user_after_result
    if observed is not None and joined is not None:
        value = joined.text(observed, text)
        yield {"from": joined.speaker, "value": _user_text(value) if joined.speaker == "human" else value}
        return
    if observed is not None:
        yield {"from": "observation", "value": observed}
    yield {"from": "human", "value": _user_text(text)}


def _user_text(text: str) -> str:
    if PLACEHOLDER in text:
        raise Reject("placeholder", f"the engine puts the turn's number in place of '{PLACEHOLDER}' in a user's text")
    return text


def assistant_text(message: Message, facts: ChatTemplate) -> str:
    """An assistant's turn: thought, text and calls.

    Raises:
        Reject: the template can't say it.
    """
    thought = _thought_text(message, facts) if message.thought else ""
    if not message.calls:
        return thought + message.text
    _check_calls(message, facts)
    calls = calls_text(message.calls)
    if any(word.strip() in calls for word in (*facts.thought_words, *facts.call_words)):
        # The engine looks for its marks inside of arguments, too. As an escape they mean the same JSON.
        calls = calls.replace("<", "\\u003c").replace("◁", "\\u25c1")
    opening, closing = facts.call_words
    if not message.text.strip():
        if closing in message.thought.partition(opening)[2]:
            raise Reject("call-mark", f"a thought beside a call holds {opening!r}, which the engine takes for the call")
        return thought + calls
    if opening in message.text or opening in message.thought:
        raise Reject("call-mark", f"the text beside a call holds {opening!r}, which the engine takes for the call")
    return f"{thought}{message.text}\n{opening}{calls}{closing}"


def _thought_text(message: Message, facts: ChatTemplate) -> str:
    opening, closing = facts.thought_words
    if opening.strip() in message.thought or closing.strip() in message.thought:
        raise Reject("thought-mark", f"a thought holds {closing.strip()!r}, which ends it too early")
    return f"{opening}{message.thought}{closing}"


def _check_calls(message: Message, facts: ChatTemplate) -> None:
    name = facts.name
    if len(message.calls) > 1 and facts.parallel_calls is Saying.IMPOSSIBLE:
        raise Reject("parallel-calls", f"the template {name} can't make {len(message.calls)} calls in one turn")
    if message.text.strip() and facts.text_beside_call is Saying.IMPOSSIBLE:
        raise Reject("text-beside-call", f"the template {name} can't say text and a call in one turn")
    if message.thought and facts.thought_beside_call is Saying.IMPOSSIBLE:
        raise Reject("thought-beside-call", f"the template {name} can't think and call in one turn")


def calls_text(calls: Sequence[ToolCall]) -> str:
    """One call as a JSON object, several as a JSON list; arguments are always objects.

    >>> calls_text([ToolCall("add", {"a": 2})])
    '{"name": "add", "arguments": {"a": 2}}'
    """
    values = [{"name": call.name, "arguments": dict(call.arguments)} for call in calls]
    return _dump(values[0] if len(values) == 1 else values)


def observation_text(results: Sequence[Message], calls: Sequence[ToolCall], facts: ChatTemplate) -> str:
    """All results of one turn as one observation, in the template's way.

    >>> results = [Message(Role.TOOL, "5", name="add"), Message(Role.TOOL, "7", name="add")]
    >>> observation_text(results, [], chat_template(""))
    '[{"name": "add", "content": "5"}, {"name": "add", "content": "7"}]'
    """
    texts = [_result_text(result) for result in results]
    if len(results) == 1 and len(calls) <= 1:
        return _dump_value(texts[0]) if facts.observation is ObservationStyle.JSON_VALUE else texts[0]
    if len(results) == 1 and not results[0].call_id and not results[0].name:  # one text answers several calls
        return _dump_value(texts[0]) if facts.observation is ObservationStyle.JSON_VALUE else texts[0]
    if facts.observation is ObservationStyle.JOIN:
        return _RESULTS_JOINT.join(texts)
    return _dump([
        {"name": result.name, "content": text} for result, text in zip(results, texts, strict=True)
    ])  # fmt: skip


def _result_text(result: Message) -> str:
    if result.is_error and not result.text.lstrip().lower().startswith("error"):
        return _ERROR + result.text
    return result.text


def _dump_value(text: str) -> str:
    """A result where the template wants a JSON value: JSON stays as it is, other text becomes a JSON string."""
    try:
        json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return _dump(text)
    return text


def tools_text(tools: Sequence[Tool], family: str) -> str:
    """Tools as JSON text of wrapped functions.

    >>> tools_text([Tool("add")], "default")
    '[{"type": "function", "function": {"name": "add", "description": "", "parameters": {"properties": {}}}}]'
    """
    return (
        "[" + ", ".join(_tool_text(tool.name, tool.description, _schema_text(tool), family)[0] for tool in tools) + "]"
    )


def tool_changes(tools: Sequence[Tool], template: str) -> Counter[str]:
    """What of the tools' schemas the template can't print as it is: how often each kind was changed for it.

    >>> tool_changes([Tool("add", "", {"properties": {"n": {"enum": [1, 2]}}})], "alpaca")
    Counter({'enum-to-text': 1})
    """
    family = chat_template(template).family
    changes: Counter[str] = Counter()
    for tool in tools if family in _PRINTING_FAMILIES else ():
        changes.update(_tool_text(tool.name, tool.description, _schema_text(tool), family)[1])
    return changes


@functools.lru_cache(maxsize=_KNOWN_TOOLS)
def _tool_text(name: str, description: str, parameters: str, family: str) -> tuple[str, tuple[str, ...]]:
    """A tool's text, and the kinds of changes that were made to its schema."""
    schema, changes = json.loads(parameters), list[str]()
    if family in _PRINTING_FAMILIES:
        schema = _readable_parameters(schema, family, changes)
    function = {"name": name, "description": description, "parameters": schema}
    return _dump({"type": "function", "function": function}), tuple(changes)


def _readable_parameters(schema: dict[str, Any], family: str, changes: list[str]) -> dict[str, Any]:
    """Parameters that every printing family of the engine can print.

    What it prints stays the same: an enum's values as text, and the type of an array's items.
    """
    given = schema.get("properties")
    properties = (
        {name: _readable(field, family, changes) for name, field in given.items()} if isinstance(given, Mapping) else {}
    )
    return {**schema, "properties": properties}


def _readable(field: Any, family: str, changes: list[str]) -> dict[str, Any]:
    if not isinstance(field, Mapping):
        changes.append("property-schema-emptied")
        return {}
    readable, enum = dict(field), field.get("enum")
    if family in _ENUM_FAMILIES and isinstance(enum, list) and not all(isinstance(value, str) for value in enum):
        readable["enum"] = [value if isinstance(value, str) else _dump(value) for value in enum]
        changes.append("enum-to-text")
    if family in _ENUM_FAMILIES and "items" in readable and not isinstance(readable["items"], Mapping):
        readable["items"] = {}
        changes.append("items-schema-emptied")
    return readable


def _schema_text(tool: Tool) -> str:
    text = dump_key(tool.parameters)
    if "null" in text:
        _dump(tool.parameters)  # a number without bounds is null in a key: here it is found
    return text


def _dump(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise Reject(
            "not-json", "a call or a tool holds NaN or a number beyond all bounds, which JSON has not"
        ) from error
