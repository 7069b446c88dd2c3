"""Which calls each instruction means: told from names and ids, in one log or several, and never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.data.formats.mcp_wire.instructions import Instruction
from lfwrap.data.formats.mcp_wire.wire_calls import WireCall, WireLog
from lfwrap.data.formats.parts.arguments import dump_key


@dataclass(frozen=True, slots=True)
class Claim:
    """The calls of one instruction.

    Attributes:
        log: the number of the log that holds them.
        calls: the calls, in the log's order; none where it can't be told which are meant.
        missing: why there are none.
    """

    log: int
    calls: tuple[WireCall, ...]
    missing: str = ""


class _Unclear(Exception):  # noqa: N818 - no error of the program: one instruction can't be used
    """Which calls an instruction means can't be told."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    log: int
    call: WireCall


class Claims:
    """The claims of all instructions on all logs.

    Instructions that name calls come first, in their order; the others take what is left, in the log's order.
    """

    def __init__(self, logs: Sequence[WireLog], instructions: Sequence[Instruction]) -> None:
        self._logs = logs
        self._left = _without_copies(logs)
        self._found: dict[int, Claim] = {}
        named = [each for each in instructions if each.names_calls]
        for place, instruction in enumerate(named):
            self._take(instruction, named[place:])
        for instruction in instructions:
            if not instruction.names_calls:
                self._take(instruction, ())

    def of(self, instruction: Instruction) -> Claim:
        """What an instruction claims."""
        return self._found[instruction.number]

    def left(self, log: int) -> list[WireCall]:
        """The calls of a log that no instruction claims."""
        return [candidate.call for candidate in self._left if candidate.log == log]

    def _take(self, instruction: Instruction, still: Sequence[Instruction]) -> None:
        mine = self._candidates(instruction)
        try:
            found = self._named(instruction, mine, still) if instruction.names_calls else self._next(mine)
        except _Unclear as unclear:
            self._found[instruction.number] = Claim(len(self._logs) - 1, (), str(unclear))
            return
        calls = sorted((candidate.call for candidate in found), key=lambda call: call.line)
        self._found[instruction.number] = Claim(found[0].log, tuple(calls))
        self._left = [candidate for candidate in self._left if not any(candidate is own for own in found)]

    def _candidates(self, instruction: Instruction) -> list[_Candidate]:
        if not instruction.session:
            return self._left
        named = [log.sessions_named(instruction.session) for log in self._logs]
        return [each for each in self._left if len(named[each.log]) == 1 and each.call.session in named[each.log]]

    def _next(self, mine: Sequence[_Candidate]) -> list[_Candidate]:
        if not mine:
            raise _Unclear("there is no further call that no other instruction claims")
        if len({candidate.log for candidate in mine}) > 1:
            raise _Unclear("several logs hold calls, so that the next can't be told: name its session and id")
        return list(mine[:1])

    def _named(
        self, instruction: Instruction, mine: Sequence[_Candidate], still: Sequence[Instruction]
    ) -> list[_Candidate]:
        """The calls that an instruction names; ``still`` are it and those after it that name calls, too."""
        chosen: dict[int, _Candidate] = {}
        for wanted in instruction.ids or instruction.lines:
            by_id = bool(instruction.ids)
            found = [each for each in mine if (wanted in each.call.ids if by_id else wanted == each.call.line)]
            shown = f"the id {wanted}" if by_id else f"a call in line {wanted}"
            shown = f"{shown} of {instruction.session}" if instruction.session else shown
            if not found:
                raise _Unclear(f"the log doesn't hold {shown}, or another instruction claims it")
            logs = {each.log for each in found}
            if len(logs) > 1 or (by_id and len(found) > 1 and not _are_all_named(instruction, found, wanted, still)):
                way_out = "'session'" if len(logs) > 1 else "'line'"
                raise _Unclear(f"{shown} stands for the calls in {self._places(found)}: say which, with {way_out}")
            chosen |= {id(each): each for each in (found[:1] if by_id else found)}
        if len({each.log for each in chosen.values()}) > 1:
            raise _Unclear(f"its calls lie in several logs: {self._places(list(chosen.values()))}")
        return list(chosen.values())

    def _places(self, found: Sequence[_Candidate]) -> str:
        if len(self._logs) == 1:
            return "lines " + ", ".join(str(each.call.line) for each in found)
        return ", ".join(f"{self._logs[each.log].name}:{each.call.line}" for each in found)


def _without_copies(logs: Sequence[WireLog]) -> list[_Candidate]:
    """The calls of all logs; what one client writes into its common log and into the server's own counts once."""
    found: list[_Candidate] = []
    known: set[str] = set()
    for number, log in enumerate(logs):
        own: set[str] = set()
        for call in log.calls:
            key = dump_key([call.session, call.ids, call.name, call.arguments, call.result])
            own.add(key)
            if key not in known:
                found.append(_Candidate(number, call))
        known |= own
    return found


def _are_all_named(
    instruction: Instruction, found: Sequence[_Candidate], wanted: Any, still: Sequence[Instruction]
) -> bool:
    """Whether a session began anew and used an id again, and as many instructions name it, in their order."""
    same = [other for other in still if other.session == instruction.session and wanted in other.ids]
    return len({each.call.session for each in found}) == 1 and len(same) == len(found)
