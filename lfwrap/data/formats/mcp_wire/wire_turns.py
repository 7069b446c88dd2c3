"""Wire calls joined with what the user asked: the records of the ``mcp-wire`` format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.formats.mcp_wire.instructions import Instruction
from lfwrap.data.formats.mcp_wire.wire_calls import ToolsOffered, WireCall, WireLog
from lfwrap.data.formats.mcp_wire.wire_claims import Claims

_SHOWN_CHARACTERS = 400


def join_instructions(
    logs: Sequence[WireLog], instructions: Sequence[Instruction], number: int = 0
) -> Iterator[SourceRecord]:
    """The records of a log: one for each instruction, for each call that none claims, and for each lost message.

    Calls whose requests overlap in time are made in one turn, the others in turns of their own.

    Args:
        logs: all logs that the instructions may mean.
        instructions: what the user asked; one that none of the logs can use stands with the last.
        number: which log's records are wanted.
    """
    claims, log = Claims(logs, instructions), logs[number]
    rows = 0
    for instruction in instructions:
        claim = claims.of(instruction)
        if claim.log == number:
            rows += 1
            line = claim.calls[0].line if claim.calls else None
            yield SourceRecord(rows, line, _record(log, instruction, claim.calls, claim.missing))
    for call in claims.left(number):
        rows += 1
        unclaimed = {"wire": True, "unclaimed": call.name, "id": call.ids[0], "session": call.session}
        yield SourceRecord(rows, call.line, {**unclaimed, "line": call.line, "problem": _problem(call)})
    for message in log.lost:
        rows += 1
        lost = {"wire": True, "lost": message.text[:_SHOWN_CHARACTERS], "line": message.line}
        problem = [message.problem.rule, message.problem.reason]
        yield SourceRecord(rows, message.line, {**lost, "problem": problem})


def _problem(call: WireCall) -> list[str] | None:
    return None if call.problem is None else [call.problem.rule, call.problem.reason]


def _record(log: WireLog, instruction: Instruction, calls: Sequence[WireCall], missing: str) -> dict[str, Any]:
    first = {call.session: call for call in reversed(calls)}
    lists = {session: log.offered(session, call.line) for session, call in reversed(first.items())}
    offered = [found for found in lists.values() if found is not None]
    problems = [_problem(call) for call in calls if call.problem is not None]
    problems += [[found.problem.rule, found.problem.reason] for found in offered if found.problem]
    return {
        "wire": True,
        "instruction": instruction.text,
        "final_response": instruction.answer,
        "instruction_line": instruction.line,
        "wanted": instruction.wanted,
        "unmatched": missing,
        "problem": problems[0] if problems else None,
        "tools": [tool for found in offered for tool in found.values],
        "unlisted": [session for session, found in lists.items() if found is None],
        "steps": [[_call_record(call) for call in step] for step in _steps(calls)],
        "unused": _unused(instruction, calls, offered),
    }


def _unused(
    instruction: Instruction, calls: Sequence[WireCall], offered: Sequence[ToolsOffered]
) -> dict[str, dict[str, Any]]:
    """What the sources of a row hold beside what is read, by place."""
    unused: dict[str, dict[str, Any]] = {"instruction": dict(instruction.unused)}
    for call in calls:
        for place, held in call.unused.items():
            unused.setdefault(place, {}).update(held)
    for found in offered:
        unused.setdefault("tools/list", {}).update(found.unused)
    return {place: held for place, held in unused.items() if held}


def _steps(calls: Sequence[WireCall]) -> list[list[WireCall]]:
    """The calls in turns: one that is made while others of its turn are open belongs to it."""
    steps: list[list[WireCall]] = []
    for call in calls:
        if steps and _is_open(steps[-1], call.line):
            steps[-1].append(call)
        else:
            steps.append([call])
    return steps


def _is_open(step: Sequence[WireCall], line: int) -> bool:
    answered = [call.answered_line for call in step if call.answered_line is not None]
    if answered:
        return line < max(answered) or line == step[-1].line
    return all(call.cancelled_line is None or line < call.cancelled_line for call in step)


def _call_record(call: WireCall) -> dict[str, Any]:
    return {
        "id": f"{call.session}/{call.ids[0]}",
        "name": call.name,
        "arguments": call.arguments,
        "result": call.result,
        "line": call.line,
        "cancelled_line": call.cancelled_line,
    }
