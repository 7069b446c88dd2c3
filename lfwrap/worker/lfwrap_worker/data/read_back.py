"""Whether the engine's template finds the calls again that it writes, and whose fault it is where something fails."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

_SHOWN_CHARACTERS = 200
_PARSE_LIMIT_S = 2.0
_SLOW_PARSES = 10
_OURS = frozenset({"__main__", "lfwrap_worker", *sys.stdlib_module_names})

Calls = list[list[Any]]


class RefusedError(Exception):
    """The engine's own code fails on a row: a training would end there."""


class OwnFaultError(Exception):
    """The worker's own code fails: nothing is said of the row."""


def is_own_fault(error: BaseException) -> bool:
    """Whether an exception came from the worker's own code: on its way it passed no other package.

    What is missing or can't be read is not: it tells of the installation or the machine.
    """
    if isinstance(error, ImportError | OSError | MemoryError):
        return False
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _OURS:
            return False
        trace = trace.tb_next
    return True


def in_words(error: BaseException) -> str:
    """An exception on one line, shortened.

    >>> in_words(KeyError("name"))
    "KeyError: 'name'"
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


@contextlib.contextmanager
def blaming() -> Iterator[None]:
    """Turns an exception of a row into a `RefusedError` or an `OwnFaultError`, with its text."""
    try:
        yield
    except (RefusedError, OwnFaultError, MemoryError):
        raise
    except Exception as error:
        kind = OwnFaultError if is_own_fault(error) else RefusedError
        raise kind(in_words(error)) from error


def written_calls(content: str, thought_words: tuple[str, str], call_words: tuple[str, str]) -> Calls:
    """The calls of a function_call turn as prepare-data writes it: a thought, then JSON, or text and JSON in marks.

    Raises:
        ValueError: the turn is written in another way.

    >>> written_calls('<t>why</t>{"name": "add", "arguments": {"a": 2}}', ("<t>", "</t>"), ("<c>", "</c>"))
    [['add', {'a': 2}]]
    """
    (thought_opens, thought_ends), (opening, closing) = thought_words, call_words
    rest = content
    if thought_opens and rest.startswith(thought_opens):
        rest = rest.partition(thought_ends)[2]
    _, marked, inner = rest.partition(opening)
    if marked and inner.endswith(closing):
        rest = inner.removesuffix(closing)
    value = json.loads(rest)
    calls = value if isinstance(value, list) else [value]
    return [[call["name"], call["arguments"]] for call in calls]


@dataclass(slots=True)
class Verdict:
    """What became of the calls of a turn.

    Attributes:
        changed: the engine writes other calls than the turn holds.
        unread: its parser does not find them as they are.
        error: the exception that the parser ended with, if it did.
    """

    changed: bool = False
    unread: bool = False
    error: str = ""


@dataclass(slots=True)
class CallReader:
    """Writes the calls of turns with a template of the engine's, and reads them with the template's own parser.

    Attributes:
        template: the engine's template.
        slow_parses: how often the parser took too long.
        known_tools: lists of tools that the template has printed.
    """

    template: Any
    slow_parses: int = 0
    known_tools: set[str] = field(default_factory=set)

    def print_tools(self, tools: str) -> None:
        """Have the template print a row's tools. Raises whatever the engine does."""
        if tools and tools not in self.known_tools:
            self.template.format_tools.apply(content=tools)
            self.known_tools.add(tools)

    def look(self, content: str) -> Verdict:
        """What becomes of a function_call turn.

        Raises:
            Exception: the template can't write the turn, or the worker has a fault.
        """
        seen, text = self._write(content)
        words = self.template.thought_words, self.template.tool_call_words
        try:
            changed = not equal(seen, written_calls(content, *words))
        except (ValueError, KeyError, TypeError):
            changed = False  # not as prepare-data writes it: then what the engine sees is all there is
        if self.slow_parses >= _SLOW_PARSES:
            return Verdict(changed, unread=True, error="TimeoutError: too slow to be tried on all rows")
        try:
            with limited(_PARSE_LIMIT_S):
                found = self.template.extract_tool(text)
        except Exception as error:  # noqa: BLE001 - parsers fail in many ways on what they can't read
            self.slow_parses += isinstance(error, TimeoutError)
            return Verdict(changed, unread=True, error=in_words(error))
        return Verdict(changed, unread=not equal(parsed(found), seen))

    def _write(self, content: str) -> tuple[Calls, str]:
        """The calls that the engine sees in a turn, and what it writes, without the tokens that end a turn."""
        formatter = self.template.format_function
        slots, tools, seen = formatter.slots, formatter.tool_utils, list[Any]()
        formatter.slots, formatter.tool_utils = ["{{content}}"], _Recorder(tools, seen)
        try:
            [text] = formatter.apply(
                content=content,
                thought_words=self.template.thought_words,
                tool_call_words=self.template.tool_call_words,
            )
        finally:
            formatter.slots, formatter.tool_utils = slots, tools
        return [[name, json.loads(arguments)] for name, arguments in seen], str(text)


class _Recorder:
    """Stands for the engine's way of writing calls, and keeps the calls."""

    def __init__(self, tools: Any, seen: list[Any]) -> None:
        self._tools = tools
        self._seen = seen

    def function_formatter(self, functions: list[Any]) -> Any:
        """What the engine makes of calls."""
        self._seen += functions
        return self._tools.function_formatter(functions)


def parsed(found: Any) -> Calls | None:
    """The calls that a parser found; None where it found none, or arguments that are no JSON.

    >>> parsed([("add", '{"a": 2}')]), parsed([("add", "a: 2")]), parsed("no call")
    ([['add', {'a': 2}]], None, None)
    """
    if isinstance(found, str):
        return None
    try:
        return [[name, json.loads(arguments)] for name, arguments in found]
    except (ValueError, TypeError, RecursionError):
        return None


def equal(one: Calls | None, other: Calls | None) -> bool:
    """Whether calls are the same as JSON: ``true`` is not 1, the order of keys means nothing.

    >>> equal([["f", {"a": True}]], [["f", {"a": 1}]]), equal([["f", {"a": 1, "b": 2}]], [["f", {"b": 2, "a": 1}]])
    (False, True)
    """
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@contextlib.contextmanager
def limited(limit_s: float) -> Iterator[None]:
    """Ends what runs within it after a time, with a TimeoutError; off the main thread there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"did not end within {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
