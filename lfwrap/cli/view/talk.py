"""A conversation on the terminal or through a pipe: questions, answers as they are written, and commands."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.view import output
from lfwrap.cli.view.plain_text import printable
from lfwrap.errors import LfwrapError

if TYPE_CHECKING:
    from lfwrap.cli.view.tool_turns import ToolDesk
    from lfwrap.inference.questions import Question
    from lfwrap.inference.session import Answer, AnswerSession

COMMANDS = """\
/system TEXT   sets the system prompt and forgets the conversation; without TEXT, the template's own again
/reset         forgets the conversation
/adapter NAME  lets this adapter answer; without NAME, lists the adapters
/load NAME=DIR puts one more adapter beside the base
/base          switches between base and tuned model
/result TEXT   tells what the last tool call returned
/exit          ends; ^C ends an answer that is being written"""
_MAX_TOOL_ROUNDS = 8


def read_lines(prompt: str = "you> ") -> Iterator[str]:
    """What the person types, or the lines of a pipe, until the end."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() its editing and history
        with contextlib.suppress(EOFError):
            while True:
                yield input(prompt)
        click.echo()
    else:
        yield from (line.rstrip("\n") for line in sys.stdin)


def ask_person(question: str) -> str:
    """One reply, from the terminal or the next line of the pipe; nothing at the end of the input or for ^C."""
    click.echo(question, nl=False, err=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        reply = sys.stdin.readline()
    except KeyboardInterrupt:
        reply = ""
    finally:
        signal.signal(signal.SIGINT, before)
    if not reply or not sys.stdin.isatty():
        click.echo(err=True)
    return reply


def show_answer(session: AnswerSession, question: Question, adapter: str | None) -> Answer:
    """Write an answer to stdout as it comes; on a terminal without what would act on it."""
    from lfwrap.inference.session import Answer, beyond_context

    made_safe = printable if sys.stdout.isatty() else str
    for piece in session.stream(question, adapter):
        if isinstance(piece, Answer):
            break
        click.echo(made_safe(piece), nl=False)
    click.echo()
    answer: Answer = piece  # type: ignore[assignment]  # the stream ends with it
    if remark := beyond_context(answer, session.ready):
        output.say(f"  {remark}")
    if answer.finish == "length":
        output.say(f"  cut after {answer.answer_tokens} tokens: --max-new-tokens allows more")
    return answer


def answer_with_tools(
    session: AnswerSession, question: Question, adapter: str | None, desk: ToolDesk
) -> tuple[Answer, list[dict[str, str]]]:
    """The answer, and the turns since the question: calls that were run go back with their results."""
    from dataclasses import replace

    turns: list[dict[str, str]] = []
    for _ in range(_MAX_TOOL_ROUNDS):
        answer = show_answer(session, replace(question, messages=(*question.messages, *turns)), adapter)
        more = desk.turns(answer.calls) if answer.calls else None
        if more is None:
            break
        turns += more
    else:
        output.say(f"  {_MAX_TOOL_ROUNDS} rounds of calls: no more are run for this question.")
    return answer, [*turns, {"role": "assistant", "content": answer.text}]


class Talk:
    """A conversation: what was said so far, the system prompt, and who answers."""

    def __init__(
        self,
        session: AnswerSession,
        system: str | None,
        adapter: str | None,
        *,
        tools: str | None = None,
        desk: ToolDesk | None = None,
    ) -> None:
        """Begin an empty conversation in which ``adapter`` answers; None is the base model."""
        self._session = session
        self._system = system
        self._adapter = adapter
        self._tools = tools
        self._desk = desk
        self._history: list[dict[str, str]] = []
        self._calls: tuple[dict[str, object], ...] = ()
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset, "/clear": self._reset, "/system": self._set_system, "/adapter": self._choose,
            "/load": self._load, "/base": self._switch, "/result": self._take_result, "/help": self._help,
        }  # fmt: skip

    def take(self, line: str) -> bool:
        """Take a line, a command or a question; returns whether the conversation goes on."""
        name, _, rest = line.partition(" ")
        if name in {"/exit", "/quit", "exit", "quit"} and not rest:
            return False
        if name in self._commands:
            try:
                self._commands[name](rest.strip())
            except LfwrapError as error:
                output.say(f"{error.message}. {error.hint}")
        elif name.startswith("/") and name[1:].isalpha():
            output.say(f"{name}: no such command.\n{COMMANDS}")
        else:
            self._answer({"role": "user", "content": line})
        return True

    def _help(self, _: str) -> None:
        output.say(COMMANDS)

    def _reset(self, _: str) -> None:
        self._history.clear()
        self._calls = ()
        output.say("The conversation is forgotten.")

    def _set_system(self, text: str) -> None:
        self._system = text or None
        self._history.clear()
        output.say(
            "The system prompt is set, the conversation forgotten."
            if text
            else "The system prompt is the template's own again."
        )

    def _choose(self, name: str) -> None:
        if name in self._session.adapters:
            self._adapter = name
            output.say(f"{name} answers.")
            return
        known = ", ".join(f"{each} *" if each == self._adapter else each for each in self._session.adapters)
        output.say((f"{name}: no such adapter. " if name else "") + f"Adapters: {known or 'none'}.")

    def _load(self, text: str) -> None:
        from lfwrap.inference.candidates import split_name
        from lfwrap.model.folder import is_adapter

        name, path = split_name(text)
        folder = Path(path).expanduser()
        if not is_adapter(folder):
            output.say("/load NAME=DIR: DIR is not an adapter's folder.")
            return
        name = name or folder.name
        self._session.attach(name, folder)
        self._choose(name)

    def _switch(self, _: str) -> None:
        self._adapter = self._session.default_adapter() if self._adapter is None else None
        output.say("The tuned model answers." if self._adapter else "The base model answers.")

    def _take_result(self, text: str) -> None:
        from lfwrap.data.tools.mcp_session import ToolResult

        if not self._calls or self._desk is None:
            output.say("/result: the last answer made no call.")
            return
        call, result = self._desk.write(self._calls, [ToolResult(text)] * len(self._calls))
        self._history[-1:] = [call]  # instead of the answer's own text
        self._answer(result)

    def _answer(self, turn: dict[str, str]) -> None:
        from lfwrap.cli.view.tool_turns import ToolDesk
        from lfwrap.inference.questions import Question

        messages = (*self._history, turn)
        question = Question(0, messages, self._system, self._tools)
        desk = self._desk or ToolDesk("", None, ask_person)
        with interrupt_ends_answer(self._session):
            answer, turns = answer_with_tools(self._session, question, self._adapter, desk)
        self._calls = tuple(dict(call) for call in answer.calls)
        self._history = [*messages, *turns]


@contextlib.contextmanager
def interrupt_ends_answer(session: AnswerSession) -> Iterator[None]:
    """While an answer is being written ^C ends the answer, not the conversation."""
    before = signal.signal(signal.SIGINT, lambda *_: session.interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
