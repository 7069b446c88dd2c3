"""`lfwrap chat`: talk to what was trained."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli import output
from lfwrap.cli.target_options import open_target, target_options
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.results.answers import Answer, AnswerSession
    from lfwrap.results.questions import Question
    from lfwrap.results.target import Target

_COMMANDS = (
    "/system TEXT sets the system prompt, /reset forgets the conversation, /base switches base and tuned, /exit ends"
)


@click.command("chat")
@target_options
@click.option("--prompt", metavar="TEXT", help="Answer this and end; - reads it from stdin.")
@click.option(
    "--file", "file", metavar="FILE", type=click.Path(path_type=Path), help="Answer every question of a file."
)
@click.option("--system", metavar="TEXT", help="System prompt; without it, the template's own.")
@click.option("--base", is_flag=True, help="Answer with the base model, without the adapter.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=512, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="0 is greedy.")
@click.option(
    "--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="For sampling."
)
@click.option("--seed", type=int, default=42, show_default=True, help="Of the sampling.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Questions at once, with --file."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    *,
    run: str,
    runs_dir: Path,
    base_model: str | None,
    template: str | None,
    prompt: str | None,
    file: Path | None,
    system: str | None,
    base: bool,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    batch_size: int,
    as_json: bool,
) -> None:
    r"""Talk to a tuned model with the template it was trained with.

    RUN is a run (folder or name), a checkpoint, an adapter folder, a merged model or a base model. Without --prompt and
    --file it is a conversation; --file takes text, one question a line, or JSONL rows, and writes JSONL.

    \b
    Example:
      lfwrap chat runs/20260101T120000Z-law-1a2b3c4d
      lfwrap chat latest --prompt "What is a lien?"
      lfwrap chat latest --file questions.txt > answers.jsonl
    """
    from lfwrap.results.answers import AnswerSession, GenerationSettings

    if prompt is not None and file is not None:
        raise UsageError("--prompt and --file: one of the two.", hint="See lfwrap chat --help.")
    if as_json and prompt is None and file is None:
        raise UsageError("--json needs --prompt or --file.", hint="A conversation has no single result.")
    questions = _questions(prompt, file, system)
    engine, target = open_target(run, runs_dir, base_model, template)
    settings = GenerationSettings(max_new_tokens, temperature, top_p, seed)
    output.say(_describe(target, base=base))
    with AnswerSession(engine, target, settings=settings) as session:
        adapter = None if base else session.default_adapter()
        output.say(f"loaded in {session.ready['seconds']:.0f} s: {session.ready['dtype']} on {session.ready['device']}")
        if file is not None:
            _answer_file(session, questions, adapter, batch_size, as_json=as_json)
        elif questions:
            _answer_one(session, questions[0], adapter, as_json=as_json)
        else:
            _converse(session, system, adapter)


def _questions(prompt: str | None, file: Path | None, system: str | None) -> list[Question]:
    from lfwrap.results.questions import ask, load_questions

    if file is not None:
        return load_questions(file, system)
    if prompt is None:
        return []
    text = sys.stdin.read().strip() if prompt == "-" else prompt
    if not text.strip():
        raise UsageError("--prompt: empty.", hint="Give the question as one argument, in quotes.")
    return [ask(text, system=system)]


def _describe(target: Target, *, base: bool) -> str:
    with_adapter = f" + {target.adapter}" if target.adapter and not base else ""
    return f"loading {target.model}{with_adapter} (template {target.template})"


def _row(question: Question, answer: Answer) -> dict[str, Any]:
    row = {"id": question.id, "question": question.text, "answer": answer.text, "finish": answer.finish}
    if question.reference is not None:
        row["reference"] = question.reference
    return row | {
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
    }


def _answer_one(session: AnswerSession, question: Question, adapter: str | None, *, as_json: bool) -> None:
    if as_json:
        output.print_json("answer", _row(question, session.answer(question, adapter)))
        return
    _show(session, question, adapter)


def _answer_file(
    session: AnswerSession, questions: list[Question], adapter: str | None, batch_size: int, *, as_json: bool
) -> None:
    """Rows in the order of the file, each as soon as it and all before it are there."""
    import orjson

    rows: dict[int, dict[str, Any]] = {}
    shown = 0
    for answer in session.answer_all(questions, adapter, batch_size=batch_size):
        rows[answer.id] = _row(questions[answer.id], answer)
        while not as_json and shown in rows:
            output.result(orjson.dumps(rows[shown]).decode())
            shown += 1
        output.say(f"{len(rows)}/{len(questions)} answered")
    if as_json:
        output.print_json("answers", {"answers": [rows[number] for number in sorted(rows)]})


def _show(session: AnswerSession, question: Question, adapter: str | None) -> Answer:
    """Write an answer to stdout as it comes."""
    from lfwrap.results.answers import Answer

    for piece in session.stream(question, adapter):
        if isinstance(piece, Answer):
            break
        click.echo(piece, nl=False)
    click.echo()
    return piece  # type: ignore[return-value]  # the stream ends with the answer


@contextlib.contextmanager
def _interrupt_ends_answer(session: AnswerSession) -> Iterator[None]:
    """While an answer is being written ^C ends the answer, not the conversation."""
    before = signal.signal(signal.SIGINT, lambda *_: session.interrupt())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _lines() -> Iterator[str]:
    """What the person types, or the lines of a pipe, until the end."""
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() its editing and history
        with contextlib.suppress(EOFError):
            while True:
                yield input("you> ")
        click.echo()
    else:
        yield from (line.rstrip("\n") for line in sys.stdin)


def _converse(session: AnswerSession, system: str | None, adapter: str | None) -> None:
    output.say(_COMMANDS)
    talk = Talk(session, system, adapter)
    for line in _lines():
        if line.strip() and not talk.take(line.strip()):
            return


class Talk:
    """A conversation: what was said so far, the system prompt, and who answers."""

    def __init__(self, session: AnswerSession, system: str | None, adapter: str | None) -> None:
        self._session = session
        self._system = system
        self._adapter = adapter
        self._history: list[dict[str, str]] = []

    def take(self, line: str) -> bool:
        """One line: a command or a question. Says whether to go on."""
        name, _, rest = line.partition(" ")
        if name in {"/exit", "/quit", "exit", "quit"} and not rest:
            return False
        if name in {"/reset", "/clear"}:
            self._history.clear()
            output.say("The conversation is forgotten.")
        elif name == "/system":
            self._system = rest.strip() or None
            self._history.clear()
            output.say("The system prompt is set, the conversation forgotten." if self._system else "Its own again.")
        elif name == "/base":
            self._switch()
        elif name.startswith("/") and name[1:].isalpha():
            output.say(f"{name}: no such command. {_COMMANDS}.")
        else:
            self._answer(line)
        return True

    def _switch(self) -> None:
        tuned = self._session.default_adapter()
        self._adapter = tuned if self._adapter is None else None
        output.say("The tuned model answers." if self._adapter else "The base model answers.")

    def _answer(self, line: str) -> None:
        from lfwrap.results.questions import Question

        messages = (*self._history, {"role": "user", "content": line})
        with _interrupt_ends_answer(self._session):
            answer = _show(self._session, Question(0, messages, self._system), self._adapter)
        self._history = [*messages, {"role": "assistant", "content": answer.text}]
