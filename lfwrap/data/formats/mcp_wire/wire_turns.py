"""Wire calls joined with what the user asked: the records of the ``mcp-wire`` format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.formats.mcp_wire.wire_log import WireCall, WireLog
from lfwrap.errors import DataError, Finding

_ANSWER_KEYS = ("final_response", "output", "answer", "response")


@dataclass(frozen=True, slots=True)
class Instruction:
    """What the user asked, and which calls it led to.

    Attributes:
        text: what was asked.
        answer: the final answer, or empty.
        session: the server whose calls are meant, or empty for any.
        ids: the calls' ids as text; empty: the next call in the log's order.
        line: 1-based line in the instructions file.
    """

    text: str
    answer: str
    session: str
    ids: tuple[str, ...]
    line: int


def load_instructions(path: Path) -> list[Instruction]:
    """Instructions from JSON lines ``{"session", "id" or "ids", "instruction", "final_response"}``.

    Raises:
        DataError: with a finding for every line that can't be used.
    """
    instructions: list[Instruction] = []
    findings: list[Finding] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Name a JSON lines file in UTF-8.") from error
    for number, text in enumerate(lines, 1):
        if text.strip():
            try:
                instructions.append(_instruction(json.loads(text), number))
            except (ValueError, RecursionError) as error:
                findings.append(Finding("instructions", str(error), file=str(path), line=number))
    if findings:
        raise DataError(f"{path}: {len(findings)} instructions can't be used", findings=findings)
    return instructions


def _instruction(value: Any, line: int) -> Instruction:
    if not isinstance(value, Mapping) or not isinstance(value.get("instruction"), str):
        raise ValueError("no object with an 'instruction'")  # noqa: TRY004 - one kind of finding
    ids = value.get("ids", value.get("id", []))
    ids = ids if isinstance(ids, list) else [ids]
    answer = next((value[key] for key in _ANSWER_KEYS if isinstance(value.get(key), str)), "")
    return Instruction(value["instruction"], answer, str(value.get("session") or ""), tuple(map(str, ids)), line)


def join_instructions(log: WireLog, instructions: Sequence[Instruction]) -> Iterator[SourceRecord]:
    """The records of a log: one for each instruction, then one for each call that no instruction claims.

    Calls whose requests overlap in time are made in one turn, the others in turns of their own.
    """
    left = list(log.calls)
    rows = 0
    for instruction in instructions:
        calls = _claimed(instruction, left)
        left = [call for call in left if not any(call is claimed for claimed in calls)]
        rows += 1
        yield SourceRecord(rows, calls[0].line if calls else None, _record(log, instruction, calls))
    for call in left:
        rows += 1
        yield SourceRecord(rows, call.line, {"wire": True, "unclaimed": call.name, "line": call.line})


def _claimed(instruction: Instruction, left: Sequence[WireCall]) -> list[WireCall]:
    mine = [call for call in left if instruction.session in ("", call.session)]
    if not instruction.ids:
        return mine[:1]
    found = [next((call for call in mine if wanted in call.ids), None) for wanted in instruction.ids]
    unique = {id(call): call for call in found if call is not None}
    return sorted(unique.values(), key=lambda call: call.line) if None not in found else []


def _record(log: WireLog, instruction: Instruction, calls: Sequence[WireCall]) -> dict[str, Any]:
    sessions = dict.fromkeys(call.session for call in calls)
    return {
        "wire": True,
        "instruction": instruction.text,
        "final_response": instruction.answer,
        "instruction_line": instruction.line,
        "ids": list(instruction.ids),
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
            for session in sessions
            for tool in log.tools.get(session, {}).values()
        ],
        "steps": [[_call_record(call) for call in step] for step in _steps(calls)],
    }


def _steps(calls: Sequence[WireCall]) -> list[list[WireCall]]:
    steps: list[list[WireCall]] = []
    until = -1
    for call in calls:
        if steps and call.line < until:
            steps[-1].append(call)
        else:
            steps.append([call])
            until = -1
        until = max(until, call.answered_line or call.line)
    return steps


def _call_record(call: WireCall) -> dict[str, Any]:
    return {
        "id": f"{call.session}/{call.ids[0]}",
        "name": call.name,
        "arguments": call.arguments,
        "result": call.result,
    }
