"""`lfwrap chat`: talk to what was trained."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.options.generation import GenerationArgs, generation_options
from lfwrap.cli.options.target import TargetArgs, open_target, target_options
from lfwrap.cli.view import output
from lfwrap.cli.view.talk import COMMANDS, Talk, answer_with_tools, ask_person, read_lines
from lfwrap.cli.view.tool_turns import ToolDesk
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.tools.mcp_session import McpSession
    from lfwrap.engine.contract import GenerationSettings
    from lfwrap.engine.locate import Engine
    from lfwrap.inference.questions import Question
    from lfwrap.inference.session import Answer, AnswerSession
    from lfwrap.inference.target import Target

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class ChatArgs:
    """The command line of `lfwrap chat`.

    Attributes:
        target: the model to talk to.
        prompt: one question; ``-`` reads it from stdin.
        file: a file of questions.
        system: the system prompt.
        base: the base model answers.
        adapters: further adapters, as typed.
        tools: files of tools that the model may call.
        mcp_server: the command that starts a server of tools.
        yes: run its tools without asking.
        generation: how the model answers.
        batch_size: questions of a file that are answered at once.
        web: open the engine's web chat.
        port: its port.
        browser: open it in a browser.
        as_json: print one JSON object.
    """

    target: TargetArgs
    prompt: str | None
    file: Path | None
    system: str | None
    base: bool
    adapters: tuple[str, ...]
    tools: tuple[Path, ...]
    mcp_server: str | None
    yes: bool
    generation: GenerationArgs
    batch_size: int
    web: bool
    port: int
    browser: bool
    as_json: bool

    def check(self) -> None:
        """Raise UsageError for options that contradict each other."""
        if self.prompt is not None and self.file is not None:
            raise UsageError("--ask and --file: give only one of them.", hint="See lfwrap chat --help.")
        if self.as_json and self.prompt is None and self.file is None:
            raise UsageError("--json needs --ask or --file.", hint="A conversation has no single result.")
        if self.web and (self.prompt is not None or self.file is not None or self.tools or self.mcp_server):
            raise UsageError(
                "--web takes no questions and no tools: the page has its own fields.", hint="See lfwrap chat --help."
            )
        if self.yes and not self.mcp_server:
            raise UsageError("--yes needs --mcp-server.", hint="Without a server no call is run.")
        if self.prompt == "-" and self.mcp_server and not self.yes:
            raise UsageError("--ask - with --mcp-server needs --yes: stdin can't answer.", hint="Give the text itself.")
        if self.prompt != "-":
            self.questions(None, "")  # what can't be asked is refused before a model is looked for

    def questions(self, tools: str | None, template: str) -> list[Question]:
        """What is to be answered; nothing for a conversation."""
        from lfwrap.inference.questions import ask, load_questions

        if self.file is not None:
            return load_questions(self.file, self.system, tools=tools, template=template)
        if self.prompt is None:
            return []
        text = sys.stdin.read().strip() if self.prompt == "-" else self.prompt
        if not text.strip():
            raise UsageError("--ask: empty.", hint="Give the question as one argument, in quotes.")
        return [ask(text, system=self.system, tools=tools)]

    def first(self, session: AnswerSession) -> str | None:
        """The adapter that answers first; None is the base model."""
        return None if self.base else session.default_adapter()


@click.command("chat")
@target_options
@click.option(
    "--ask", "--prompt", "prompt", metavar="TEXT", help="Answer this question and end; - reads it from stdin."
)
@click.option("--file", "file", metavar="FILE", type=_PATH, help="Answer every question of a file.")
@click.option("--system", metavar="TEXT", help="System prompt; by default the template's own.")
@click.option("--base", is_flag=True, help="Answer with the base model, without the adapter.")
@click.option("--adapter", "adapters", metavar="[NAME=]DIR", multiple=True,
              help="One more adapter of the same base, to switch to; repeatable.")  # fmt: skip
@click.option("--tools", metavar="FILE", type=_PATH, multiple=True, help="Tools that the model may call; repeatable.")
@click.option("--mcp-server", metavar="COMMAND", help="Offer this server's tools; each call is run after you say yes.")
@click.option("--yes", is_flag=True, help="Run every call of --mcp-server's tools without asking.")
@generation_options
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Questions of --file that are answered at once.",
)
@click.option("--web", is_flag=True, help="Open the engine's web chat on 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port of --web.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Whether --web opens a browser.")
@AS_JSON
@takes(ChatArgs)
def command(args: ChatArgs) -> None:
    r"""Talk to a tuned model with the template it was trained with.

    RUN is a run (folder or name), a checkpoint, an adapter folder, a merged model or a base model. Without --ask and
    --file it is a conversation; --file takes text, one question a line, CSV, or JSON rows, and writes JSONL.

    \b
    Example:
      lfwrap chat runs/20260101T120000Z-law-1a2b3c4d
      lfwrap chat latest --ask "What is a lien?"
      lfwrap chat latest --file questions.txt > answers.jsonl
      lfwrap chat latest --mcp-server "python server.py"
    """
    args.check()
    engine, target = open_target(args.target)
    if args.web:
        _web(engine, target, args)
        return
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_server(args.mcp_server))
        tools = _tools(args, server, target)
        questions = args.questions(tools, target.template)
        adapters = _adapters(target, args)
        output.say(_describe(target, base=args.base))
        session = stack.enter_context(_open(engine, target, adapters, args.generation.settings))
        output.say(f"loaded in {session.ready['seconds']:.0f} s: {session.ready['dtype']} on {session.ready['device']}")
        desk = ToolDesk(target.template, server, ask_person, allow_all=args.yes)
        _talk(
            session,
            args,
            questions,
            Talk(session, args.system, args.first(session), tools=tools, desk=desk),
            desk,
        )


def _web(engine: Engine, target: Target, args: ChatArgs) -> None:
    from lfwrap.inference.serving.webchat import run_web_chat

    output.say(_describe(target, base=args.base))
    run_web_chat(engine, target, port=args.port, base=args.base, browser=args.browser, ready=output.result)


@contextlib.contextmanager
def _server(command_line: str | None) -> Iterator[McpSession | None]:
    if command_line is None:
        yield None
        return
    from lfwrap.data.tools.mcp_session import open_mcp_session

    with open_mcp_session(command_line) as session:
        output.say(f"tools of the server: {', '.join(tool.name for tool in session.tools) or 'none'}")
        yield session


def _tools(args: ChatArgs, server: McpSession | None, target: Target) -> str | None:
    from lfwrap.data.tools.catalogue import load_catalogue
    from lfwrap.inference.questions import write_tools

    known = dict(load_catalogue(args.tools).tools) if args.tools else {}
    known |= {tool.name: tool for tool in server.tools} if server else {}
    return write_tools(list(known.values()), target.template) if known else None


def _adapters(target: Target, args: ChatArgs) -> dict[str, Path]:
    """The target's adapter and those beside it. Raises UsageError for one that was tuned on another base."""
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.inference.candidates import ModelUnderTest, TargetOptions, require_distinct, resolve_candidates
    from lfwrap.inference.session import TUNED

    own = [ModelUnderTest(TUNED, target)] if target.adapter else []
    given = TargetOptions(args.target.runs_dir, target.model, target.template)
    others = resolve_candidates(args.adapters, load_engine_facts(), given) if args.adapters else []
    for other in others:
        if fault := _no_neighbour(other.target, target):
            raise UsageError(
                f"--adapter {other.target.name}: {fault}",
                hint=f"Adapters beside {target.name} need its base: {target.model}.",
            )
    require_distinct([*own, *others])
    return {each.name: each.target.adapter for each in (*own, *others) if each.target.adapter is not None}


def _no_neighbour(other: Target, target: Target) -> str:
    """Why an adapter can't stand beside another on one base; empty when it can."""
    if other.adapter is None:
        return "not an adapter"
    if other.stated_base and target.stated_base and other.stated_base != target.stated_base:
        return f"tuned on {other.stated_base}"
    return ""


def _open(engine: Engine, target: Target, adapters: dict[str, Path], settings: GenerationSettings) -> AnswerSession:
    from lfwrap.inference.session import AnswerSession

    return AnswerSession(engine, target, adapters=adapters, settings=settings)


def _describe(target: Target, *, base: bool) -> str:
    with_adapter = f" + {target.adapter}" if target.adapter and not base else ""
    return f"loading {target.model}{with_adapter} (template {target.template})"


def _talk(session: AnswerSession, args: ChatArgs, questions: Sequence[Question], talk: Talk, desk: ToolDesk) -> None:
    if args.file is not None:
        _answer_file(session, questions, args)
    elif questions and args.as_json:
        output.print_json("answer", _row(questions[0], session.answer(questions[0], args.first(session))))
    elif questions:
        answer_with_tools(session, questions[0], args.first(session), desk)
    else:
        output.say(COMMANDS)
        for line in read_lines():
            if line.strip() and not talk.take(line.strip()):
                return


def _row(question: Question, answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {"id": question.id, "question": question.text, "answer": answer.text, "finish": answer.finish}
    if answer.calls:
        row["calls"] = list(answer.calls)
    if question.reference is not None:
        row["reference"] = question.reference
    return row | {
        "prompt_tokens": answer.prompt_tokens,
        "answer_tokens": answer.answer_tokens,
        "seconds": answer.seconds,
    }


def _answer_file(session: AnswerSession, questions: Sequence[Question], args: ChatArgs) -> None:
    """Rows in the order of the file, each as soon as it and all before it are there."""
    import orjson

    from lfwrap.inference.session import beyond_context

    rows: dict[int, dict[str, Any]] = {}
    shown = 0
    for answer in session.answer_all(questions, args.first(session), batch_size=args.batch_size):
        rows[answer.id] = _row(questions[answer.id], answer)
        if remark := beyond_context(answer, session.ready):
            output.say(f"question {answer.id + 1}: {remark}")
        while not args.as_json and shown in rows:
            output.result(orjson.dumps(rows[shown]).decode())
            shown += 1
        output.say(f"{len(rows)}/{len(questions)} answered")
    if args.as_json:
        output.print_json("answers", {"answers": [rows[number] for number in sorted(rows)]})
