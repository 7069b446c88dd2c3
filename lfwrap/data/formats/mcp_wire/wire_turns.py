"""Wire calls joined with what the user asked: the records of the ``mcp-wire`` format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lfwrap.data.formats.base import SourceRecord
from lfwrap.data.formats.mcp_wire.instructions import Instruction
from lfwrap.data.formats.mcp_wire.wire_calls import ToolsOffered, WireCall, WireLog

_SHOWN_CHARACTERS = 400


def join_instructions(log: WireLog, instructions: Sequence[Instruction]) -> Iterator[SourceRecord]:
    """The records of a log: one for each instruction, for each call that none claims, and for each lost message.

    Calls whose requests overlap in time are made in one turn, the others in turns of their own.
    """
    claims = _Claims(log, instructions)
    rows = 0
    for instruction in instructions:
        calls, missing = claims.of(instruction)
        rows += 1
        yield SourceRecord(rows, calls[0].line if calls else None, _record(log, instruction, calls, missing))
    for call in claims.left:
        rows += 1
        unclaimed = {"wire": True, "unclaimed": call.name, "id": call.ids[0], "session": call.session}
        yield SourceRecord(rows, call.line, {**unclaimed, "line": call.line, "problem": _problem(call)})
    for message in log.lost:
        rows += 1
        lost = {"wire": True, "lost": message.text[:_SHOWN_CHARACTERS], "line": message.line}
        problem = [message.problem.rule, message.problem.reason]
        yield SourceRecord(rows, message.line, {**lost, "problem": problem})


class _Claims:
    """Which calls each instruction claims: those that name calls come first, the others take what is left in order."""

    def __init__(self, log: WireLog, instructions: Sequence[Instruction]) -> None:
        self._log = log
        self.left = list(log.calls)
        self._found: dict[int, tuple[list[WireCall], str]] = {}
        named = [each for each in instructions if each.ids or each.lines]
        for instruction in named:
            self._claim(instruction, [other for other in named if other.line >= instruction.line])
        for instruction in instructions:
            if not instruction.ids and not instruction.lines:
                calls = self._candidates(instruction)[:1]
                self._take(instruction, calls, "" if calls else "the log holds no further call")

    def of(self, instruction: Instruction) -> tuple[list[WireCall], str]:
        """The calls of an instruction, or none and why."""
        return self._found[instruction.line]

    def _take(self, instruction: Instruction, calls: list[WireCall], problem: str) -> None:
        self._found[instruction.line] = (sorted(calls, key=lambda call: call.line), problem)
        self.left = [call for call in self.left if not any(call is claimed for claimed in calls)]

    def _candidates(self, instruction: Instruction) -> list[WireCall]:
        if not instruction.session:
            return self.left
        sessions = self._log.sessions_named(instruction.session)
        return [call for call in self.left if call.session in sessions] if len(sessions) == 1 else []

    def _claim(self, instruction: Instruction, still: Sequence[Instruction]) -> None:
        """Take the calls that an instruction names; ``still`` are those that name calls, from this one on."""
        mine = self._candidates(instruction)
        calls: list[WireCall] = []
        for wanted in instruction.ids or instruction.lines:
            found = [call for call in mine if (wanted in call.ids if instruction.ids else wanted == call.line)]
            if not found:
                self._take(instruction, [], f"the log doesn't hold {_shown(instruction, wanted)}, or another claims it")
                return
            if instruction.ids and len(found) > 1 and not self._all_are_asked_for(instruction, found, wanted, still):
                lines = ", ".join(str(call.line) for call in found)
                reason = f"{_shown(instruction, wanted)} stands for the calls in lines {lines}: say which, with 'line'"
                self._take(instruction, [], reason)
                return
            calls += [call for call in found[: 1 if instruction.ids else None] if not any(call is own for own in calls)]
        self._take(instruction, calls, "")

    def _all_are_asked_for(
        self, instruction: Instruction, found: Sequence[WireCall], wanted: Any, still: Sequence[Instruction]
    ) -> bool:
        """Whether a session began anew and used an id again, and as many instructions name it, in their order."""
        same = [other for other in still if other.session == instruction.session and wanted in other.ids]
        return len({call.session for call in found}) == 1 and len(same) == len(found)


def _shown(instruction: Instruction, wanted: Any) -> str:
    what = f"the id {wanted}" if instruction.ids else f"a call in line {wanted}"
    return f"{what} of {instruction.session}" if instruction.session else what


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
