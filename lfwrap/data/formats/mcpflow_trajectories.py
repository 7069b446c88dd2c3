"""MCP-Flow's trajectories: rows that are bare lists of messages, ``tool_calls`` one object, results MCP's JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes, SourceRecord
from lfwrap.data.formats.openai_chat import add_message
from lfwrap.data.formats.parts.arguments import json_or_none
from lfwrap.data.formats.parts.exact_json import exact_value, stream_items, stream_lines
from lfwrap.data.formats.parts.messages import has_lone_call, system_of, turns_of
from lfwrap.data.formats.parts.offers import offer_tools
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation
from lfwrap.errors import DataError

_LIST_OF_LISTS = re.compile(r"\A\ufeff?\s*\[\s*\[\s*\{\s*\"(?:role|content)\"")
_ONE_TRAJECTORY = re.compile(r"\[\s*\{\s*\"(?:role|content)\"")
_HEAD_CHARACTERS = 1 << 16
_LONE_CALL = re.compile(r"\"tool_calls\"\s*:\s*\{")


def evidence(record: Mapping[str, Any]) -> str | None:
    """Some message's ``tool_calls`` is one object instead of a list."""
    return "messages with role/content, tool_calls is one object instead of a list" if has_lone_call(record) else None


def sniff(head: str) -> str | None:
    """A file that is a list of lists of messages, or of records in which ``tool_calls`` is one object."""
    if _LIST_OF_LISTS.match(head):
        return "the file is a list of lists of role/content messages"
    if head.lstrip("\ufeff \n\r\t").startswith(("{", "[")) and '"role"' in head and _LONE_CALL.search(head):
        return "messages with role/content, tool_calls is one object instead of a list"
    return None


def read(path: Path, options: ConvertOptions) -> Iterator[SourceRecord]:  # noqa: ARG001 - one shape for all formats
    """The trajectories of a JSON list or of JSON lines, each as ``{"messages": […]}``; a piece of the file at a time.

    Raises:
        DataError: the file is not JSON.
    """
    with path.open(encoding="utf-8-sig", newline="\n") as source:
        head = source.read(_HEAD_CHARACTERS).lstrip()
        source.seek(0)
        for number, (line, row) in enumerate(_rows(path, source, head), 1):
            yield SourceRecord(row=number, line=line, value={"messages": row} if isinstance(row, list) else row)


def _rows(path: Path, source: TextIO, head: str) -> Iterator[tuple[int, Any]]:
    if _are_lines(head):
        return stream_lines(source)
    if head.startswith("[") and not _ONE_TRAJECTORY.match(head):
        return stream_items(source)
    return iter([(1, _document(path, source.read()))])


def _are_lines(head: str) -> bool:
    """Whether each line is a row: the first is one; or, where that one is broken, another object is."""
    lines = head.split("\n")[:-1]
    if head.startswith("[") and not _ONE_TRAJECTORY.match(head):
        return False
    if not lines:
        return head.startswith(("{", "["))  # one line, perhaps a long one
    tried = lines if head.startswith("{") else lines[:1]
    return any(line[:1] == head[:1] and json_or_none(line) is not None for line in tried)


def _document(path: Path, text: str) -> Any:
    value = exact_value(text)
    if isinstance(value, Reject) and value.rule == "not-json":
        raise DataError(f"{path}: is not JSON: {value.reason}", hint="Repair the file, or leave it out.")
    return value


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A trajectory as a conversation; the result after its last call is cut, for no answer follows it.

    Raises:
        Reject: the messages make no sense.

    >>> import json
    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'weather_get']
    """
    fields = notes.fields(record, "")
    builder = TurnBuilder(notes)
    for number, turn in enumerate(turns_of(fields, notes), 1):
        add_message(builder, turn, f"message {number}", notes, mcp=True)
    tools = parse_tools(fields.get("tools"), notes)
    return offer_tools(builder.build(tools, outer_system=system_of(fields, notes)), options)


FORMAT = Format(
    name="mcpflow-trajectories",
    description="MCP-Flow trajectories (lists of messages, tool_calls one object); give the tools with --tools",
    example=(
        '{"messages":[{"role":"user","content":"北京天气?"},{"role":"assistant","content":"","tool_calls":{"type":'
        '"function","function":{"name":"weather_get","arguments":{"city":"北京"}}}},{"role":"tool","tool_call_id":0,'
        '"name":"weather_get","content":"{\\"content\\": [{\\"type\\": \\"text\\", \\"text\\": \\"15\\"}], '
        '\\"isError\\": false}"}]}'
    ),
    evidence=evidence,
    convert=convert,
    sniff=sniff,
    read=read,
)
