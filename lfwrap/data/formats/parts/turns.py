"""Turns into a conversation: fragments merged, results ordered by their calls, what can't be answered cut off."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall


class TurnBuilder:
    """Takes a row's turns one by one, in their order, and builds the conversation.

    Every method raises `Reject` where the order makes no sense.
    """

    def __init__(self, notes: RowNotes) -> None:
        self._notes = notes
        self._system: str | None = None
        self._turns: list[Message] = []
        self._results: list[Message] = []

    def system(self, text: str) -> None:
        """The system prompt; only before the first turn."""
        if self._turns or self._results:
            raise Reject("late-system", "a system message comes after the first turn")
        if self._system is None:
            self._system = text
        elif text:
            self._system = f"{self._system}\n\n{text}" if self._system else text
            self._notes.repair("system-merged")

    def user(self, text: str) -> None:
        """What the user says in one turn."""
        self._close_results()
        if not text.strip():
            raise Reject("empty-turn", "the user says nothing in one turn")
        if self._turns and self._turns[-1].role is Role.USER:
            raise Reject("order", "two user turns follow each other")
        self._turns.append(Message(Role.USER, text))

    def assistant(self, text: str = "", *, thought: str = "", calls: Sequence[ToolCall] = ()) -> None:
        """What the assistant thinks, says and calls, or a fragment of it; fragments in a row become one turn."""
        self._close_results()
        if not self._turns:
            raise Reject("order", "the first turn is the assistant's")
        fragment = Message(Role.ASSISTANT, text, thought=thought, calls=tuple(calls))
        last = self._turns[-1]
        if last.role is not Role.ASSISTANT:
            self._turns.append(fragment)
            return
        if last.calls and (text.strip() or thought.strip()):
            raise Reject("order", "the assistant goes on after a call whose result is missing")
        self._notes.repair("assistant-merged")
        if thought.strip() and last.text.strip():
            self._notes.repair("thought-moved-to-front")
        self._turns[-1] = dataclasses.replace(
            last,
            text=_joined(last.text, text),
            thought=_joined(last.thought, thought),
            calls=(*last.calls, *fragment.calls),
        )

    def result(self, text: str, *, name: str = "", call_id: str = "", is_error: bool = False) -> None:
        """A tool's result, for one of the assistant's last calls."""
        if not self._turns or not self._turns[-1].calls:
            raise Reject("unmatched-result", f"a result{_of(name)} comes where no call was made")
        self._results.append(Message(Role.TOOL, text, name=name, call_id=call_id, is_error=is_error))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of the last turn."""
        return self._turns[-1].calls if self._turns else ()

    def build(self, tools: Sequence[Tool] = (), *, outer_system: str = "") -> Conversation:
        """The conversation, cut back to the assistant's last turn.

        Args:
            tools: the tools of the row.
            outer_system: a system prompt that stands beside the turns; it comes before one among them.
        """
        self._close_results()
        turns = [turn for number, turn in enumerate(self._turns) if not self._is_empty(number)]
        cut = len(turns)
        while cut and turns[cut - 1].role is not Role.ASSISTANT:
            cut -= 1
        if not cut:
            raise Reject("no-answer", "the assistant says nothing: there is no answer to learn")
        if cut < len(turns):
            self._notes.repair("trailing-turns")
        return Conversation(tuple(turns[:cut]), system=self._whole_system(outer_system), tools=tuple(tools))

    def _whole_system(self, outer: str) -> str:
        inner = self._system or ""
        if not outer or not inner or outer == inner:
            return outer or inner
        self._notes.repair("system-merged")
        return f"{outer}\n\n{inner}"

    def _is_empty(self, number: int) -> bool:
        turn = self._turns[number]
        if turn.role is not Role.ASSISTANT or turn.calls or turn.text.strip():
            return False
        if number == len(self._turns) - 1:
            return True  # an empty last answer is cut as a trailing turn
        raise Reject("empty-turn", "the assistant says nothing in one turn")

    def _close_results(self) -> None:
        """Put the results that came since the last call into the order of the calls."""
        if not self._results:
            return
        self._turns += order_results(self._turns[-1].calls, self._results, self._notes)
        self._results = []


def order_results(calls: Sequence[ToolCall], results: Sequence[Message], notes: RowNotes) -> list[Message]:
    """Results in the order of their calls, each with its tool's name.

    By id where the results have ids that the calls have; without ids by position, if the counts and the names agree.
    Ids of which no call has one belong to other calls. One result without an id for several calls stays one: it answers
    them together.

    Raises:
        Reject: ``unmatched-result``.

    >>> calls = [ToolCall("add", {}, id="1"), ToolCall("stop", {}, id="2")]
    >>> results = [Message(Role.TOOL, "done", call_id="2"), Message(Role.TOOL, "5", call_id="1")]
    >>> [(result.name, result.text) for result in order_results(calls, results, RowNotes())]
    [('add', '5'), ('stop', 'done')]
    """
    ids = [call.id for call in calls]
    if all(ids) and len(set(ids)) == len(ids) and any(result.call_id in ids for result in results):
        return _by_id(calls, results, notes)
    answered = [result.call_id for result in results]
    if all(ids) and all(answered) and not set(answered) & set(ids):
        shown = [", ".join(map(repr, each)) for each in (answered, ids)]
        raise Reject("unmatched-result", f"results of the calls {shown[0]} answer none of the calls {shown[1]}")
    if len(results) == 1 and len(calls) > 1:
        return [dataclasses.replace(results[0], name="", call_id="")]
    if len(results) != len(calls):
        raise Reject("unmatched-result", f"{len(calls)} calls have {len(results)} results without matching ids")
    for call, result in zip(calls, results, strict=True):
        if result.name and result.name != call.name:
            raise Reject("unmatched-result", f"the result of {result.name!r} answers a call of {call.name!r}")
    return [_answering(call, result) for call, result in zip(calls, results, strict=True)]


def _answering(call: ToolCall, result: Message) -> Message:
    """A result as that of a call; `dataclasses.replace` would take several times as long."""
    if result.name == call.name and result.call_id == call.id:
        return result
    return Message(result.role, result.text, name=call.name, call_id=call.id, is_error=result.is_error)


def _by_id(calls: Sequence[ToolCall], results: Sequence[Message], notes: RowNotes) -> list[Message]:
    by_id: dict[str, Message] = {}
    for result in results:
        if not any(call.id == result.call_id for call in calls):
            raise Reject("unmatched-result", f"a result answers the call {result.call_id!r}, which was not made")
        if result.call_id in by_id:
            raise Reject("unmatched-result", f"the call {result.call_id!r} has two results")
        by_id[result.call_id] = result
    ordered = [_answering(call, by_id[call.id]) for call in calls if call.id in by_id]
    if len(ordered) < len(calls):
        notes.warn("missing-result", f"{len(calls) - len(ordered)} of {len(calls)} calls of one turn have no result")
    if any(
        one.call_id != result.call_id or one.name != call.name
        for one, call, result in zip(ordered, calls, results, strict=False)
    ):
        notes.repair("results-reordered")
    return ordered


def _joined(first: str, second: str) -> str:
    return f"{first}\n{second}" if first.strip() and second.strip() else first or second


def _of(name: str) -> str:
    return f" of {name!r}" if name else ""
