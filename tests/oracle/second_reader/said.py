"""What a row of a source says: who said what in which order, which calls, which results, which tools."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


class Unclear(Exception):  # noqa: N818 - a verdict on a source, no error of a program
    """The source can't be understood, or says that it must not be trained: the row has to be refused."""


@dataclass(frozen=True)
class Call:
    """A call; its arguments are JSON text, so that types and the order of keys count."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Result:
    """What a tool answered, in every spelling that the promises allow; one name, or none where it answers all calls."""

    texts: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True)
class Turn:
    """One turn: ``user``, ``assistant`` or ``results``; ``also`` are other readings that are as right."""

    who: str
    text: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    also: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool with its schema as it stands in the source; how it may be normalised, `schemas` knows."""

    name: str
    description: str
    schema: Any
    required: Any = None


@dataclass(frozen=True)
class Told:
    """A whole row. ``systems`` are the texts that would be right; ``tools`` is None where they stand in other files."""

    turns: tuple[Turn, ...]
    systems: tuple[str, ...] = ("",)
    tools: tuple[Tool, ...] | None = ()


@dataclass
class Row:
    """A row of a source: what it says, and why it may or must be refused.

    Attributes:
        number: of the record, from 1.
        line: where it begins, or None where there are no lines.
        told: what it says, or None where nothing may be written.
        forbidden: what would be written of a row that must not be, if nobody asked what it means.
        doubts: reasons for which the row may be refused.
        source: the record itself, or None where it is not at hand.
        banned: texts that must never be trained as an answer, with the reason.
    """

    number: int
    line: int | None
    told: Told | None
    forbidden: Told | None = None
    doubts: list[str] = field(default_factory=list)
    banned: list[tuple[str, str]] = field(default_factory=list)
    source: Any = None


class Talk:
    """Takes what was said one by one, and tells the whole; it knows the order that a conversation has."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.systems: list[str] = []
        self._results: list[tuple[Result, str]] = []
        self._ids: list[str] = []

    def system(self, text: str) -> None:
        """A system message, before everything else."""
        if self.turns:
            raise Unclear("a system message in the middle")
        if text:
            self.systems.append(text)

    def user(self, text: str) -> None:
        """The user speaks."""
        self._close()
        if not text.strip():
            raise Unclear("the user says nothing")
        if self.turns and self.turns[-1].who == "user":
            raise Unclear("two user turns")
        self.turns.append(Turn("user", text))

    def assistant(self, text: str = "", thought: str = "", calls: list[tuple[str, Call]] | None = None) -> None:
        """The assistant thinks, speaks or calls; fragments in a row are one turn. Calls come with their ids."""
        self._close()
        if not self.turns:
            raise Unclear("the assistant begins")
        told = tuple(call for _, call in calls or ())
        last = self.turns[-1]
        if last.who != "assistant":
            self.turns.append(Turn("assistant", text, thought, told))
            self._ids = [call_id for call_id, _ in calls or ()]
            return
        if last.calls and (text.strip() or thought.strip()):
            raise Unclear("the assistant goes on after a call without a result")
        self._ids += [call_id for call_id, _ in calls or ()]
        self.turns[-1] = replace(
            last,
            text=_joined(last.text, text),
            thought=_joined(last.thought, thought),
            calls=last.calls + told,
            also=(),
        )

    def result(self, texts: tuple[str, ...], call_id: str = "", name: str = "") -> None:
        """A tool answers."""
        if not self.turns or not self.turns[-1].calls:
            raise Unclear("a result without a call")
        self._results.append((Result(texts, name), call_id))

    def told(self, tools: tuple[Tool, ...] | None = (), top_system: str = "") -> Told:
        """Everything, up to the assistant's last turn."""
        self._close()
        turns = list(self.turns)
        if turns and turns[-1].who == "assistant" and not turns[-1].calls and not turns[-1].text.strip():
            turns.pop()
        while turns and turns[-1].who != "assistant":
            turns.pop()
        if not turns:
            raise Unclear("no answer")
        if any(turn.who == "assistant" and not turn.calls and not turn.text.strip() for turn in turns):
            raise Unclear("the assistant says nothing")
        inner = "\n\n".join(self.systems)
        systems = (inner or top_system,)
        if inner and top_system and inner != top_system:
            systems = (f"{top_system}\n\n{inner}", f"{inner}\n\n{top_system}")
        return Told(tuple(turns), systems, tools)

    def _close(self) -> None:
        if self._results:
            results, self._results = self._results, []
            self.turns.append(Turn("results", results=_matched(self.turns[-1].calls, self._ids, results)))


def _joined(first: str, second: str) -> str:
    return f"{first}\n{second}" if first.strip() and second.strip() else first or second


def _matched(calls: tuple[Call, ...], ids: list[str], results: list[tuple[Result, str]]) -> tuple[Result, ...]:
    """Results in the order of the calls: by id where there are any, else by position."""
    given = [call_id for _, call_id in results]
    if all(ids) and len(set(ids)) == len(ids) and set(given) & set(ids):
        if len(set(given)) != len(given) or not set(given) <= set(ids):
            raise Unclear("a result that answers no call, or one that was answered")
        by_id = {call_id: result for result, call_id in results}
        return tuple(
            replace(by_id[call_id], name=call.name)
            for call, call_id in zip(calls, ids, strict=True)
            if call_id in by_id
        )
    if all(ids) and all(given) and not set(given) & set(ids):
        raise Unclear("results that answer none of the calls")
    if len(results) == 1 and len(calls) > 1:
        return (replace(results[0][0], name=""),)
    if len(results) != len(calls):
        raise Unclear("not as many results as calls")
    for call, (result, _) in zip(calls, results, strict=True):
        if result.name not in ("", call.name):
            raise Unclear("a result of another tool")
    return tuple(replace(result, name=call.name) for call, (result, _) in zip(calls, results, strict=True))
