"""`lfwrap compare`: base, adapters, checkpoints and merged models side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.options.generation import GenerationArgs, generation_options
from lfwrap.cli.options.target import TargetsArgs, open_targets, targets_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.engine.contract import GenerationSettings
    from lfwrap.engine.locate import Engine
    from lfwrap.evaluate.comparison import CompareRequest, Comparison
    from lfwrap.evaluate.judge import JudgeAddress
    from lfwrap.inference.candidates import ModelUnderTest
    from lfwrap.inference.questions import Question
    from lfwrap.run.folder.record import Run

_PATH = click.Path(path_type=Path)
_KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class CompareArgs:
    """The command line of `lfwrap compare`.

    Attributes:
        models: what is compared.
        questions: the file of questions.
        validation: ask the rows that the first run kept for validation.
        limit: the most questions to ask.
        out: the folder of answers and report.
        base: ask the base model, too.
        checkpoints: ask all checkpoints of the runs, too.
        system: the system prompt of questions without one.
        tools: files of tools for questions without tools.
        must_contain: what every answer is to hold.
        generation: how the models answer.
        batch_size: questions that are answered at once.
        judge_url: a judge's address.
        judge_model: the judge's model.
        judge_key_env: the variable that holds the judge's key.
        force: replace answers that were given otherwise.
        as_json: print one JSON object.
    """

    models: TargetsArgs
    questions: Path | None
    validation: bool
    limit: int | None
    out: Path | None
    base: bool
    checkpoints: bool
    system: str | None
    tools: tuple[Path, ...]
    must_contain: tuple[str, ...]
    generation: GenerationArgs
    batch_size: int
    judge_url: str | None
    judge_model: str | None
    judge_key_env: str
    force: bool
    as_json: bool


@click.command("compare")
@click.argument("targets", metavar="[NAME=]TARGET...", nargs=-1, required=True)
@click.option("--questions", type=_PATH, metavar="FILE", help="File of the questions: text, JSON, JSONL or CSV.")
@click.option("--validation", is_flag=True, help="Ask the rows that the first run kept for validation.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Ask only the first N questions.")
@click.option(
    "--out", type=_PATH, metavar="DIR", help="Folder of answers and report; the same command again goes on there."
)
@click.option("--base/--no-base", default=True, show_default=True, help="Ask the base model, too.")
@click.option("--checkpoints", is_flag=True, help="Ask all checkpoints of the runs, too.")
@click.option("--system", metavar="TEXT", help="System prompt for questions that have none.")
@click.option("--tools", type=_PATH, metavar="FILE", multiple=True, help="Tools for questions that have none.")
@click.option(
    "--must-contain", metavar="TEXT", multiple=True, help="Check that every answer contains this; repeatable."
)
@generation_options
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Questions that are answered at once."
)
@click.option("--judge", "judge_url", metavar="URL", help="OpenAI-compatible address of a judge, up to /v1.")
@click.option("--judge-model", metavar="NAME", help="Model of the judge.")
@click.option("--judge-key-env", metavar="NAME", default=_KEY_VARIABLE, show_default=True,
              help="The environment variable that holds the judge's key.")  # fmt: skip
@targets_options
@click.option("--force", is_flag=True, help="Replace answers in the folder that were given with other settings.")
@AS_JSON
@takes(CompareArgs)
def command(args: CompareArgs) -> None:
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
    from lfwrap.evaluate.comparison import CompareRequest

    judge = _judge(args)
    engine, candidates = _candidates(args)
    questions, source = _questions(engine, candidates, args)
    settings = args.generation.settings
    out = args.out or _default_folder(source, questions, settings, candidates)
    request = CompareRequest(
        candidates, questions, source, out, settings, args.batch_size, args.must_contain, judge, force=args.force
    )
    comparison = _run(engine, request)
    report = write_reports(comparison, out)
    _warn_of_base_answers(engine, comparison, report)
    if args.as_json:
        output.print_json("comparison", {"out": str(out), **report})
    else:
        _show(report)
        output.result(str(out / "report.html"))


def _run(engine: Engine, request: CompareRequest) -> Comparison:
    from lfwrap.cli.view.answering import AnswerProgress
    from lfwrap.evaluate.compare import compare

    with AnswerProgress() as progress:
        return compare(engine, request, progress.listener())


def _judge(args: CompareArgs) -> JudgeAddress | None:
    """The judge, where one is named. Raises UsageError where only its address or only its model is."""
    from lfwrap.evaluate.judge import JudgeAddress

    url, model = args.judge_url, args.judge_model
    if url is None and model is None:
        return None
    if url is None or model is None:
        raise UsageError(
            "--judge and --judge-model: give both or neither.", hint="Name the address and the model there."
        )
    return JudgeAddress(url, model, os.environ.get(args.judge_key_env, ""))


def _candidates(args: CompareArgs) -> tuple[Engine, list[ModelUnderTest]]:
    from lfwrap.inference.candidates import with_base

    engine, candidates = open_targets(args.models, _checkpoints(args.models) if args.checkpoints else ())
    return engine, with_base(candidates) if args.base else candidates


def _checkpoints(models: TargetsArgs) -> list[str]:
    """The checkpoints of the runs among the targets, the earliest step first."""
    from lfwrap.errors import RunStateError
    from lfwrap.inference.candidates import split_name
    from lfwrap.run.folder.record import load_run

    found: list[str] = []
    for text in models.targets:
        try:
            run = load_run(split_name(text)[1], models.runs_dir)
        except RunStateError:
            continue
        found += [str(path) for path in reversed(run.paths.checkpoints())]
    if not found:
        raise UsageError(
            "--checkpoints: no run with checkpoints among the targets", hint="`lfwrap runs list` names the runs."
        )
    return found


def _questions(engine: Engine, candidates: Sequence[ModelUnderTest], args: CompareArgs) -> tuple[list[Question], str]:
    """What is asked, and where it comes from."""
    from lfwrap.inference.questions import load_questions, read_tools, validation_questions

    file = args.questions
    if (file is None) == (not args.validation):
        raise UsageError("--questions FILE or --validation: give one of the two.", hint="See lfwrap compare --help.")
    if file is not None:
        template = candidates[0].target.template
        tools = read_tools(args.tools, template)
        questions, source = load_questions(file, args.system, tools=tools, template=template), str(file)
    else:
        run = _run_of(candidates, args.models.runs_dir)
        questions, source = validation_questions(run, engine), f"{run.paths.name} validation"
    return questions[: args.limit], source


def _run_of(candidates: Sequence[ModelUnderTest], runs_dir: Path) -> Run:
    from lfwrap.inference.candidates import run_of

    run = next((found for each in candidates if (found := run_of(each.target, runs_dir)) is not None), None)
    if run is None:
        raise UsageError("--validation: no run among the targets", hint="Name the questions: --questions FILE.")
    return run


def _default_folder(
    source: str, questions: Sequence[Question], settings: GenerationSettings, candidates: Sequence[ModelUnderTest]
) -> Path:
    from lfwrap.evaluate.compare import default_folder

    return default_folder(Path(source).stem, questions, settings, candidates[0].target.model)


def _warn_of_base_answers(engine: Engine, comparison: Comparison, report: dict[str, Any]) -> None:
    """Say which adapters gave their base's answer to every question, and why."""
    from lfwrap.verdict.weights import unchanged_reason

    base, *others = comparison.columns
    if base.candidate.target.adapter is not None:
        return
    shown = {target["name"]: target for target in report["targets"]}
    for column in others:
        target = column.candidate.target
        same = shown[column.candidate.name]["summary"]["same_as_baseline"]
        if target.adapter is None or target.model != base.candidate.target.model or same < report["questions"]:
            continue
        reason = unchanged_reason(engine, target.adapter) or "its change is too small to alter an answer"
        output.say(
            f"warning: {column.candidate.name} answers as its base does, to all of {report['questions']} questions: "
            f"{reason}. `lfwrap runs verdict` says more."
        )


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
