"""`lfwrap compare`: base, adapters, checkpoints and merged models side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.generation import generation_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.evaluate.comparison import Comparison
    from lfwrap.evaluate.judge import JudgeAddress
    from lfwrap.inference.candidates import Contestant
    from lfwrap.inference.question_rows import Question
    from lfwrap.inference.session import GenerationSettings

_PATH = click.Path(path_type=Path)
_KEY_VARIABLE = "OPENAI_API_KEY"


@click.command("compare")
@click.argument("targets", metavar="[NAME=]TARGET...", nargs=-1, required=True)
@click.option("--questions", type=_PATH, metavar="FILE", help="What to ask: text, JSON, JSONL or CSV.")
@click.option("--validation", is_flag=True, help="Ask what the first run kept back for validation.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N questions.")
@click.option("--out", type=_PATH, metavar="DIR", help="Folder of answers and report; a second call goes on there.")
@click.option("--base/--no-base", default=True, show_default=True, help="Ask the base model, too.")
@click.option("--checkpoints", is_flag=True, help="Ask all checkpoints of the runs, too.")
@click.option("--system", metavar="TEXT", help="System prompt of questions that have none.")
@click.option("--tools", type=_PATH, metavar="FILE", multiple=True, help="Tools for questions that have none.")
@click.option("--must-contain", metavar="TEXT", multiple=True, help="Check that every answer holds this; repeatable.")
@generation_options
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Questions at once.")
@click.option("--judge", "judge_url", metavar="URL", help="A judge's OpenAI-compatible address, up to /v1.")
@click.option("--judge-model", metavar="NAME", help="The judge's model.")
@click.option("--judge-key-env", metavar="NAME", default=_KEY_VARIABLE, show_default=True,
              help="The environment variable that holds the judge's key.")  # fmt: skip
@click.option("--runs-dir", type=_PATH, default=Path("runs"), show_default=True, help="Where runs are looked for.")
@click.option("--base-model", metavar="DIR|ID", help="Use this base model, not the one the adapters name.")
@click.option("--template", metavar="NAME", help="Use this template, not those of the trainings.")
@click.option("--force", is_flag=True, help="Replace answers in the folder that were given otherwise.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(*, targets: tuple[str, ...], settings: GenerationSettings, as_json: bool, **options: Any) -> None:
    r"""Ask a base model and what was tuned on it the same questions, and put the answers side by side.

    A TARGET is a run, a checkpoint, an adapter folder or a whole model. What shares a base shares one load, with the
    adapters swapped. Each answers with the template of its training, greedily unless --temperature is given. Answers
    are kept as they come: the same call again goes on where it stopped. The folder then holds report.html, report.md,
    report.csv and report.json.

    \b
    Example:
      lfwrap compare latest --questions questions.jsonl
      lfwrap compare old=runs/a/output/checkpoint-138 new=runs/a --validation --out comparisons/a
      lfwrap compare latest --questions q.txt --judge http://127.0.0.1:8000/v1 --judge-model qwen
    """
    from lfwrap.evaluate.compare import CompareRequest, compare

    judge = _judge(options["judge_url"], options["judge_model"], options["judge_key_env"])
    engine, contestants = _contestants(targets, options)
    questions, source = _questions(engine, contestants, options)
    out = options["out"] or _default_folder(source, questions, settings, contestants)
    request = CompareRequest(
        contestants, questions, source, out, settings, options["batch_size"], options["must_contain"], judge,
        force=options["force"],
    )  # fmt: skip
    comparison = _run(compare, engine, request)
    report = write_reports(comparison, out)
    if as_json:
        output.print_json("comparison", {"out": str(out), **report})
    else:
        _show(report)
        output.result(str(out / "report.html"))


def _run(compare: Any, engine: Engine, request: Any) -> Comparison:
    from lfwrap.cli.view.answering import AnswerProgress

    with AnswerProgress() as progress:
        comparison: Comparison = compare(engine, request, progress.listener())
    return comparison


def _judge(url: str | None, model: str | None, variable: str) -> JudgeAddress | None:
    from lfwrap.evaluate.judge import JudgeAddress

    if url is None and model is None:
        return None
    if url is None or model is None:
        raise UsageError("--judge and --judge-model: both or none.", hint="Name the address and the model there.")
    return JudgeAddress(url, model, os.environ.get(variable, ""))


def _contestants(targets: Sequence[str], options: dict[str, Any]) -> tuple[Engine, list[Contestant]]:
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.inference.candidates import TargetWishes, resolve_contestants, with_base

    engine = locate_engine()
    wishes = TargetWishes(options["runs_dir"], options["base_model"], options["template"])
    named = [*targets]
    if options["checkpoints"]:
        named += _checkpoints(targets, options["runs_dir"])
    contestants = resolve_contestants(named, load_engine_facts(engine), wishes)
    return engine, with_base(contestants) if options["base"] else contestants


def _checkpoints(targets: Sequence[str], runs_dir: Path) -> list[str]:
    """The checkpoints of the runs among the targets, the earliest step first."""
    from lfwrap.errors import RunStateError
    from lfwrap.inference.candidates import split_name
    from lfwrap.run.folder.record import load_run

    found: list[str] = []
    for text in targets:
        try:
            run = load_run(split_name(text)[1], runs_dir)
        except RunStateError:
            continue
        found += [str(path) for path in reversed(run.paths.checkpoints())]
    if not found:
        raise UsageError("--checkpoints: no run with checkpoints among the targets", hint="`lfwrap runs list`.")
    return found


def _questions(
    engine: Engine, contestants: Sequence[Contestant], options: dict[str, Any]
) -> tuple[list[Question], str]:
    from lfwrap.inference.questions import load_questions, read_tools, validation_questions

    file = options["questions"]
    if (file is None) == (not options["validation"]):
        raise UsageError("--questions FILE or --validation: one of the two.", hint="See lfwrap compare --help.")
    if file is not None:
        template = contestants[0].target.template
        tools = read_tools(options["tools"], template)
        questions, source = load_questions(file, options["system"], tools=tools, template=template), str(file)
    else:
        run = _run_of(contestants, options["runs_dir"])
        questions, source = validation_questions(run, engine), f"{run.paths.name} validation"
    return questions[: options["limit"]], source


def _run_of(contestants: Sequence[Contestant], runs_dir: Path) -> Any:
    from lfwrap.inference.candidates import run_of

    run = next((found for each in contestants if (found := run_of(each.target, runs_dir)) is not None), None)
    if run is None:
        raise UsageError("--validation: no run among the targets", hint="Name the questions: --questions FILE.")
    return run


def _default_folder(
    source: str, questions: Sequence[Question], settings: GenerationSettings, contestants: Sequence[Contestant]
) -> Path:
    from lfwrap.evaluate.compare import default_folder

    return default_folder(Path(source).stem, questions, settings, contestants[0].target.model)


def write_reports(comparison: Comparison, out: Path) -> dict[str, Any]:
    """Write the report in all forms; what stands in report.json. Raises PreflightError when the disk is full."""
    from lfwrap.files import write_json, write_text
    from lfwrap.report.comparison import render_csv, render_html, render_markdown
    from lfwrap.run.folder.record import utc_now

    report = {"created_at": utc_now(), **comparison.to_json()}
    write_json(out / "report.json", {"schema": "lfwrap.comparison/1", **report})
    write_text(out / "report.html", render_html(report))
    write_text(out / "report.md", render_markdown(report))
    write_text(out / "report.csv", "\ufeff" + render_csv(report))  # the mark by which spreadsheets know UTF-8
    return report


def _show(report: dict[str, Any]) -> None:
    """The figures as aligned columns on stderr."""
    from rich.cells import cell_len

    from lfwrap.report.comparison import summary_table

    table = summary_table(report)
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for line in table:
        first, *others = (
            cell + " " * (width - cell_len(cell)) if number == 0 else " " * (width - cell_len(cell)) + cell
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        output.say("  ".join([first, *others]))
