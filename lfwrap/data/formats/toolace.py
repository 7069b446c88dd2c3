"""ToolACE: the tools are JSON inside the system text, the calls in square brackets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes
from lfwrap.data.formats.parts.arguments import exact_or_none, json_text
from lfwrap.data.formats.parts.bracket_calls import looks_like_calls, parse_bracket_calls
from lfwrap.data.formats.parts.exact_json import ExactDecoder
from lfwrap.data.formats.parts.preambles import without_preamble
from lfwrap.data.formats.parts.roles import Speaker, speaker_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import plain_text, readable_json, result_text
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation

_TOOLS_START = re.compile(r"\[\s*\{\s*\"")


def evidence(record: Mapping[str, Any]) -> str | None:
    """from/value turns, no tools column, and a JSON list of functions inside the system text."""
    turns, system = record.get("conversations"), record.get("system")
    if not isinstance(turns, list) or not isinstance(system, str) or record.get("tools"):
        return None
    if not turns or not isinstance(turns[0], Mapping) or "from" not in turns[0]:
        return None
    if '"parameters"' not in system or '"name"' not in system or not _TOOLS_START.search(system):
        return None
    return "the system text holds a JSON list of functions, conversations are from/value turns"


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:  # noqa: ARG001
    """A row as a conversation.

    Of the system text, what declares the tools and asks for calls in brackets is left out: the template does both in
    its own way.

    Raises:
        Reject: the tools, the calls or the order make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['Top trends?', 'Market Trends API']
    """
    fields = notes.fields(record, "")
    declared, system = _tools_in(str(fields.get("system", "")), notes)
    tools = parse_tools(declared, notes, "system")
    names = [tool.name for tool in tools]
    turns = fields.get("conversations")
    if not isinstance(turns, list):
        raise Reject("structure", "conversations is not a list of from/value turns")
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns, 1):
        if not isinstance(turn, Mapping) or "from" not in turn:
            raise Reject("structure", f"turn {number} has no 'from'")
        said = notes.fields(turn, "conversations[]")
        text = plain_text(said.get("value"), f"turn {number}", notes, said.place_of("value"))
        _add(builder, speaker_of(said["from"]), text, names, notes)
    return builder.build(tools, outer_system=system)


def _tools_in(system: str, notes: RowNotes) -> tuple[Any, str]:
    """The list of functions in a system text, and what the text says besides."""
    start = _TOOLS_START.search(system)
    if start is None:
        raise Reject("tool", "the system text holds no JSON list of functions")
    try:
        tools, end, problem = ExactDecoder().decode_at(system, start.start())
    except ValueError as error:
        raise Reject("tool", f"the functions in the system text are not JSON: {error}") from error
    if problem is not None:
        raise problem
    return tools, without_preamble(system[: start.start()], system[end:], notes)


def _add(builder: TurnBuilder, speaker: Speaker, text: str, names: list[str], notes: RowNotes) -> None:
    if speaker is Speaker.SYSTEM:
        builder.system(text)
    elif speaker is Speaker.USER:
        builder.user(text)
    elif speaker is Speaker.RESULT:
        _add_results(builder, text, notes)
    elif looks_like_calls(text, names):
        builder.assistant(calls=parse_bracket_calls(text, names))
    else:
        builder.assistant(text)


def _add_results(builder: TurnBuilder, text: str, notes: RowNotes) -> None:
    """``[{"name": …, "results": …}, …]``: one result for each call, where the counts agree."""
    values = exact_or_none(text)
    count = len(builder.calls)
    if not isinstance(values, list) or len(values) != count or not all(_is_result(value) for value in values):
        builder.result(result_text(text, notes)[0])
        return
    for value in values:
        results = value["results"]
        content = results if isinstance(results, str) else json_text(results, notes)
        builder.result(readable_json(content, notes), name=str(value["name"]))


def _is_result(value: Any) -> bool:
    return isinstance(value, Mapping) and {"name", "results"} <= value.keys()


FORMAT = Format(
    name="toolace",
    description="ToolACE rows: functions as JSON in the system text, calls as [name(key=value)]",
    example=(
        '{"system":"The functions in JSON format:\\n[{\\"name\\":\\"Market Trends API\\",\\"description\\":'
        '\\"d\\",\\"parameters\\":{\\"type\\":\\"dict\\",\\"properties\\":{\\"trend_type\\":{\\"type\\":\\"string\\"}},'
        '\\"required\\":[\\"trend_type\\"]}}].","conversations":[{"from":"user","value":"Top trends?"},{"from":'
        '"assistant","value":"[Market Trends API(trend_type=\\"INDEXES\\")]"}]}'
    ),
    evidence=evidence,
    convert=convert,
)
