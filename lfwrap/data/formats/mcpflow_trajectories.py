"""MCP-Flow's trajectories: rows that are bare lists of messages, ``tool_calls`` one object, results MCP's JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, RowNotes, SourceRecord
from lfwrap.data.formats.openai_chat import convert_messages
from lfwrap.data.formats.parts.arguments import load_line
from lfwrap.data.formats.parts.messages import has_lone_call, turns_of
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.schema.conversation import Conversation
from lfwrap.errors import DataError

_LIST_OF_LISTS = re.compile(r"\A\ufeff?\s*\[\s*\[\s*\{\s*\"(?:role|content)\"")
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
    """The trajectories of a JSON file or of JSON lines, each as ``{"messages": […]}``.

    Raises:
        DataError: the file is not JSON.
    """
    text = path.read_text(encoding="utf-8-sig")
    try:
        rows: list[tuple[int | None, Any]] = [(None, row) for row in _rows_of(json.loads(text))]
    except (ValueError, RecursionError) as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines or load_line(lines[0][1]) is lines[0][1]:
            raise DataError(f"{path}: is not JSON: {error}", hint="Repair the file, or leave it out.") from error
        rows = [(number, load_line(line)) for number, line in lines]
    for number, (line, row) in enumerate(rows, 1):
        yield SourceRecord(row=number, line=line, value={"messages": row} if isinstance(row, list) else row)


def _rows_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A trajectory as a conversation; the result after its last call is cut, for no answer follows it.

    Raises:
        Reject: the messages make no sense.

    >>> conversation = convert(json.loads(FORMAT.example), ConvertOptions(), RowNotes())
    >>> [message.text or message.calls[0].name for message in conversation.messages]
    ['北京天气?', 'weather_get']
    """
    return convert_messages(turns_of(record), record, parse_tools(record.get("tools"), notes), options, notes)


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
