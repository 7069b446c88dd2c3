"""MCP wire logs: sessions of JSON-RPC lines and desktop logs, joined with a file of instructions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import ConvertOptions, Format, Reject, RowNotes, SourceRecord
from lfwrap.data.formats.parts.arguments import json_text
from lfwrap.data.formats.parts.calls import parse_call
from lfwrap.data.formats.parts.offers import with_distractors
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
        DataError: the instructions can't be used, or the log's lines don't let servers and levels be told apart.
    """
    from lfwrap.data.formats.mcp_wire.instructions import load_instructions
    from lfwrap.data.formats.mcp_wire.wire_log import read_logs
    from lfwrap.data.formats.mcp_wire.wire_turns import join_instructions

    instructions = load_instructions(options.instructions) if options.instructions else []
    logs, number = read_logs(path, options.sources if instructions else ())
    yield from join_instructions(logs, instructions, number)


def convert(record: Mapping[str, Any], options: ConvertOptions, notes: RowNotes) -> Conversation:
    """A joined record as a conversation.

    Raises:
        Reject: a call that no instruction claims, an instruction without its call, or calls that can't be read.

    >>> call = {"id": "weather/2", "name": "get_weather", "arguments": {"city": "Rome"}, "result": None}
    >>> record = {"instruction": "Weather in Rome?", "steps": [[call]], "tools": [{"name": "get_weather"}]}
    >>> [message.text or message.calls[0].name for message in convert(record, ConvertOptions(), RowNotes()).messages]
    ['Weather in Rome?', 'get_weather']
    """
    _refuse(record)
    for path, unused in record.get("unused", {}).items():
        notes.fields(unused, path)
    builder = TurnBuilder(notes)
    builder.user(str(record["instruction"]))
    steps = record["steps"]
    for number, step in enumerate(steps, 1):
        _check_results(step, notes, last=number == len(steps) and not record.get("final_response"))
        builder.assistant(
            calls=[parse_call({key: call[key] for key in ("id", "name", "arguments")}, notes) for call in step]
        )
        for call in step:
            if call["result"] is not None:
                text, is_error = _result(call["result"], notes)
                builder.result(text, name=call["name"], call_id=call["id"], is_error=is_error)
    if record.get("final_response"):
        builder.assistant(str(record["final_response"]))
    return _with_tools(builder.build(parse_tools(record.get("tools"), notes)), record, options)


def _refuse(record: Mapping[str, Any]) -> None:
    """Reject what makes no conversation."""
    line = record.get("line")
    if "lost" in record:
        rule, reason = record["problem"]
        raise Reject(rule, f"the message in line {line} can't be used: {reason}")
    problem = record.get("problem")
    if "jsonrpc" in record or "unclaimed" in record:
        name = record.get("unclaimed", record.get("method", "a message"))
        if problem:
            raise Reject(*problem)
        raise Reject("needs-instructions", f"no instruction says what the user asked for {name!r}")
    if not record.get("steps"):
        raise Reject(
            "unmatched-result",
            f"the instruction in line {record.get('instruction_line')} claims {record.get('wanted', 'the next call')}: "
            f"{record.get('unmatched') or 'the log holds no such call'}",
        )
    if problem:
        raise Reject(*problem)


def _check_results(step: Sequence[Mapping[str, Any]], notes: RowNotes, *, last: bool) -> None:
    """Reject calls without results where something follows them; one that ends the row may go without."""
    without = [call for call in step if call["result"] is None]
    if not without:
        return
    call = without[0]
    where = f"the call of {call['name']!r} in line {call.get('line')}"
    why = f"was cancelled in line {call['cancelled_line']}" if call.get("cancelled_line") else "has no reply in the log"
    if len(without) == len(step) and not last:
        raise Reject("unmatched-result", f"{where} {why}, but another call or the final response follows it")
    if len(without) == len(step):  # of some without, the turns take note
        notes.warn("missing-result", f"{where} {why}: the row ends with it")


def _result(result: Mapping[str, Any], notes: RowNotes) -> tuple[str, bool]:
    error = result.get("error")
    if isinstance(error, Mapping) and "content" not in result:
        fields = notes.fields(error, "error")
        message = fields.get("message")
        if isinstance(message, str):
            return message, True
        fields.take_all()
        return json_text(error, notes), True
    if "content" not in result and "structuredContent" not in result:
        if "toolResult" in result:  # versions before 2024-11-05
            fields = notes.fields(result, "result")
            value = fields["toolResult"]
            text = value if isinstance(value, str) else json_text(value, notes)
            return text, bool(fields.get("isError", False))
        if not result.get("isError"):
            raise Reject("structure", f"a result is none of MCP's: it holds {', '.join(result) or 'nothing'}")
    return mcp_result(result, notes)


def _with_tools(conversation: Conversation, record: Mapping[str, Any], options: ConvertOptions) -> Conversation:
    """A conversation with the tools of ``--tools``, where the log doesn't hold a server's list."""
    unlisted = record.get("unlisted")
    if not unlisted:
        return conversation
    declared = {tool.name for tool in conversation.tools}
    called = {call.name for message in conversation.messages for call in message.calls}
    missing = sorted(called - declared)
    if unknown := [name for name in missing if name not in options.tools]:
        raise Reject(
            "undeclared-tool",
            f"the log never lists the tools of {', '.join(unlisted)}: what {', '.join(unknown)} takes is not known; "
            "give the tools with --tools",
        )
    added = [options.tools[name] for name in missing]
    tools = with_distractors(added, conversation, options) if not declared else tuple(added)
    return dataclasses.replace(conversation, tools=(*conversation.tools, *tools))


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
