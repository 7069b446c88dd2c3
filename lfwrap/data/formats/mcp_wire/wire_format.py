"""MCP wire logs: sessions of JSON-RPC lines and desktop logs, joined with a file of instructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes, SourceRecord
from lfwrap.data.formats.parts.calls import parse_call
from lfwrap.data.formats.parts.schemas import parse_tools
from lfwrap.data.formats.parts.texts import mcp_result
from lfwrap.data.formats.parts.turns import TurnBuilder
from lfwrap.data.schema.conversation import Conversation


def evidence(record: Mapping[str, Any]) -> str | None:
    """Whether the record is a JSON-RPC 2.0 message, in words."""
    return "a JSON-RPC 2.0 message" if record.get("jsonrpc") == "2.0" else None


def sniff(head: str) -> str | None:
    """Whether a file begins with JSON-RPC lines, bare or behind a desktop log's prefix, in words."""
    from lfwrap.data.formats.mcp_wire.wire_log import sniff_wire

    return sniff_wire(head)


def read(path: Path, options: ConvertOptions) -> Iterator[SourceRecord]:
    """The log's calls, joined with ``--instructions``.

    Raises:
        DataError: the instructions can't be used.
    """
    from lfwrap.data.formats.mcp_wire.wire_log import read_wire
    from lfwrap.data.formats.mcp_wire.wire_turns import join_instructions, load_instructions

    with path.open(encoding="utf-8", errors="strict") as lines:
        log = read_wire(lines)
    instructions = load_instructions(options.instructions) if options.instructions else []
    yield from join_instructions(log, instructions)


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:  # noqa: ARG001
    """A joined record as a conversation.

    Raises:
        Reject: a call that no instruction claims, an instruction without its call, or calls that can't be read.

    >>> call = {"id": "weather/2", "name": "get_weather", "arguments": {"city": "Rome"}, "result": None}
    >>> record = {"instruction": "Weather in Rome?", "steps": [[call]]}
    >>> [message.text or message.calls[0].name for message in convert(record, ConvertOptions(), RowNotes()).messages]
    ['Weather in Rome?', 'get_weather']
    """
    if "jsonrpc" in record or "unclaimed" in record:
        name = record.get("unclaimed", record.get("method", "a message"))
        raise Reject("needs-instructions", f"no instruction says what the user asked for {name!r}")
    if not record.get("steps"):
        wanted = ", ".join(record.get("ids", [])) or "the next call"
        raise Reject("unmatched-result", f"the instruction in line {record.get('instruction_line')} claims {wanted}, "
                     "which the log doesn't hold, or which another one claims")  # fmt: skip
    builder = TurnBuilder(notes)
    builder.user(str(record["instruction"]))
    for step in record["steps"]:
        builder.assistant(
            calls=[parse_call({key: call[key] for key in ("id", "name", "arguments")}, notes) for call in step]
        )
        for call in step:
            if call["result"] is not None:
                text, is_error = _result(call["result"], notes)
                builder.result(text, name=call["name"], call_id=call["id"], is_error=is_error)
    if record.get("final_response") and all(call["result"] is not None for step in record["steps"] for call in step):
        builder.assistant(str(record["final_response"]))
    return builder.build(parse_tools(record.get("tools"), notes))


def _result(result: Mapping[str, Any], notes: RowNotes) -> tuple[str, bool]:
    error = result.get("error")
    if isinstance(error, Mapping) and "content" not in result:
        return str(error.get("message", error)), True
    return mcp_result(result, notes)


FORMAT = Format(
    name="mcp-wire",
    description="MCP sessions (JSON-RPC lines) and desktop logs, joined with --instructions FILE",
    example=(
        '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"get_weather","arguments":{"city":"北京"}}}'
    ),
    evidence=evidence,
    convert=convert,
    sniff=sniff,
    read=read,
)
