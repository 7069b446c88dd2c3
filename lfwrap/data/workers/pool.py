"""Calls in several processes, with the results in order and only a few of them waiting."""

from __future__ import annotations

import functools
import gc
import pickle
import select
from collections import deque
from collections.abc import Callable, Generator, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from lfwrap.data.workers.processes import Channel, Child, quickest_method, start
from lfwrap.errors import PreflightError

# A process finds its next call waiting when it is done with one. A large one is not sent ahead: while it is written,
# both sides could wait for each other to read.
_CALLS_AT_ONCE = 2
_SMALL_CALL_BYTES = 16 << 10
_AHEAD = 2
_KEPT_BYTES = 16 << 20

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class _Failure(NamedTuple):
    error: Exception


class _Member(NamedTuple):
    child: Child
    channel: Channel
    calls: deque[int]


def calls_in_hand(jobs: int) -> int:
    """The most calls that a pool has under way, or done and not yet taken."""
    return _CALLS_AT_ONCE * jobs + _AHEAD


class Pool:
    """Processes that make calls; they start with the first one."""

    def __init__(self, jobs: int, setup: Callable[[], None], start_method: str | None = None) -> None:
        """Prepare a pool.

        Args:
            jobs: how many processes.
            setup: called in each of them before anything else; unless they are forked, it is pickled.
            start_method: how they start, or None for the platform's quickest way.
        """
        self._jobs = jobs
        self._in_hand = calls_in_hand(jobs)
        self._setup = setup
        self._method = start_method or quickest_method()
        self._members: dict[int, _Member] = {}
        self._dismissed: list[Child] = []
        self._results: dict[int, Any] = {}
        self._name_of: Callable[[int], str] = lambda _: ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss(at_once=kind is not None)
        while self._dismissed:
            self._dismissed.pop().join()

    def dismiss(self) -> None:
        """No more calls will come: the processes end while their parent goes on."""
        self._dismiss(at_once=False)

    def ordered(
        self,
        run: Callable[[Argument], Result],
        arguments: Iterable[Argument],
        name: Callable[[int], str] = lambda _: "",
    ) -> Generator[Result, None, None]:
        """The result of every call, in order; what is still under way when the caller stops is dropped.

        Args:
            run: what to call, a function of a module.
            arguments: what to call it with; one is taken when there is room for its result.
            name: what a call worked on, by how many there are after the first whose result was not taken yet: asked
                for where its process was killed.

        Raises:
            PreflightError: a process was killed, most likely because memory ran out.
        """
        self._start()
        sent = taken = 0
        self._name_of = lambda number: name(number - taken)
        try:
            for argument in arguments:
                self._send(sent, pickle.dumps((run, argument), pickle.HIGHEST_PROTOCOL))
                sent += 1
                if sent - taken == self._in_hand:
                    yield self._take(taken)
                    taken += 1
            while taken < sent:
                yield self._take(taken)
                taken += 1
        except BaseException as error:
            if not isinstance(error, Exception | GeneratorExit):
                self._dismiss(at_once=True)  # a signal, perhaps in the middle of a message
            raise
        finally:
            while any(member.calls for member in self._members.values()):
                self._receive()
            self._results.clear()

    def _start(self) -> None:
        serve = functools.partial(_make_calls, self._setup)
        while len(self._members) < self._jobs:
            strangers = [member.channel for member in self._members.values()]
            child, channel = start(self._method, serve, strangers)
            self._members[channel.fileno()] = _Member(child, channel, deque())

    def _send(self, number: int, call: bytes) -> None:
        at_once = _CALLS_AT_ONCE if len(call) <= _SMALL_CALL_BYTES else 1
        while True:
            member = min(self._members.values(), key=lambda member: len(member.calls))
            if len(member.calls) < at_once:
                break
            self._receive()
        member.calls.append(number)
        try:
            member.channel.send_bytes(call)
        except OSError as error:
            raise self._broken(member) from error

    def _take(self, number: int) -> Any:
        while number not in self._results:
            self._receive()
        result = self._results.pop(number)
        if isinstance(result, _Failure):
            raise result.error
        return result

    def _receive(self) -> None:
        """Wait for a result, of whichever call."""
        poll = select.poll()
        for descriptor in self._members:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll():
            member = self._members[descriptor]
            try:
                answer = member.channel.recv_bytes()
            except (EOFError, OSError) as error:
                raise self._broken(member) from error
            self._results[member.calls.popleft()] = pickle.loads(answer)  # noqa: S301 - our own child's

    def _broken(self, member: _Member) -> PreflightError:
        self._dismiss(at_once=True)
        work = self._name_of(member.calls[0]) if member.calls else ""
        return PreflightError(
            f"a worker process was killed{f' at {work}' if work else ''}, most likely because memory ran out",
            hint="Try again with --jobs 1.",
        )

    def _dismiss(self, *, at_once: bool) -> None:
        members, self._members = self._members, {}
        for member in members.values():
            if at_once:
                member.child.kill()
            member.channel.close()
            self._dismissed.append(member.child)


def _make_calls(setup: Callable[[], None], channel: Channel) -> None:
    """In a child: make calls until the parent has no more, or is gone."""
    bytes(_KEPT_BYTES)  # glibc learns to keep freed memory of this size: new pages for every block cost much
    gc.freeze()
    setup()
    while True:
        try:
            run, argument = pickle.loads(channel.recv_bytes())  # noqa: S301 - our own parent's
            channel.send_bytes(pickle.dumps(_result(run, argument), pickle.HIGHEST_PROTOCOL))
        except (EOFError, OSError):
            return


def _result(run: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return run(argument)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        import traceback

        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return _Failure(error)
