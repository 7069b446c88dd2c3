"""`lfwrap eval`: figures of a tuned model beside those of its base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.options.generation import MAX_NEW_TOKENS
from lfwrap.cli.options.target import TargetsArgs, open_targets, targets_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.evaluate.evaluate import EvalSettings, Material
    from lfwrap.inference.candidates import ModelUnderTest
    from lfwrap.run.folder.record import Run

_BFCL = "bfcl-simple"
_HARNESS = "lm-eval:"
_DIGEST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class EvalArgs:
    """The command line of `lfwrap eval`.

    Attributes:
        models: what is measured.
        data: the rows, by their data set's name or file.
        dataset_dir: the folder of the dataset_info.json.
        suite: a public benchmark, instead of rows.
        bfcl_dir: the folder of BFCL's data files.
        answers: a file of answers that were made elsewhere.
        with_base: measure the base model, too.
        with_loss: measure losses.
        with_calls: ask for tool calls.
        limit: the most rows or cases.
        seed: of the choice that ``limit`` makes.
        cutoff_len: tokens that rows are cut to; None as in training.
        batch_size: questions that are answered at once.
        max_new_tokens: tokens of the longest answer.
        show_failures: wrong calls of each model to show.
        per_tool: show each tool's figures.
        harness_arguments: further arguments of lm_eval.
        out: the folder of the results.
        force: compute everything again.
        as_json: print one JSON object.
    """

    models: TargetsArgs
    data: str | None
    dataset_dir: Path | None
    suite: str | None
    bfcl_dir: Path | None
    answers: Path | None
    with_base: bool
    with_loss: bool
    with_calls: bool
    limit: int | None
    seed: int
    cutoff_len: int | None
    batch_size: int
    max_new_tokens: int
    show_failures: int
    per_tool: bool
    harness_arguments: tuple[str, ...]
    out: Path | None
    force: bool
    as_json: bool


@click.command("eval")
@click.argument("targets", metavar="[NAME=]TARGET...", nargs=-1)
@click.option("--data", metavar="NAME|FILE", help="Rows to evaluate on; by default the run's validation split.")
@click.option("--dataset-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of dataset_info.json.")
@click.option("--suite", metavar="NAME", help="bfcl-simple, or lm-eval:TASK,TASK, instead of rows.")
@click.option("--bfcl-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of BFCL's data files.")
@click.option("--answers", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Score the tool calls in this file of answers, made elsewhere; takes no TARGET.")  # fmt: skip
@click.option("--base/--no-base", "with_base", default=True, help="Measure the base model, too, or not.")
@click.option("--loss/--no-loss", "with_loss", default=True, help="Measure losses, or not.")
@click.option("--calls/--no-calls", "with_calls", default=True, help="Ask for tool calls, or not.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only N rows or cases, drawn with --seed.")
@click.option("--seed", type=int, default=42, show_default=True, help="Seed of the choice that --limit makes.")
@click.option("--cutoff-len", type=click.IntRange(2), help="Cut rows to this many tokens; by default as in training.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Questions that are answered at once."
)
@MAX_NEW_TOKENS
@click.option(
    "--show-failures", type=click.IntRange(0), default=0, metavar="N", help="Show N wrong calls of each model."
)
@click.option("--per-tool", is_flag=True, help="Show each tool's figures.")
@click.option("--lm-eval-arg", "harness_arguments", multiple=True, metavar="ARG",
              help="An argument that lm_eval gets as it is; repeatable.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the results; by default one "
              "below evals.")  # fmt: skip
@click.option("--force", is_flag=True, help="Compute everything again, whatever --out holds.")
@targets_options
@AS_JSON
@takes(EvalArgs)
def command(args: EvalArgs) -> None:
    r"""Measure models on rows that they have not seen: loss, and how they call tools.

    TARGET is a run (folder or name), a checkpoint, an adapter folder, a merged or a base model; NAME=TARGET names its
    line of the table. The base of each adapter is measured, too, in the same load. Rows with tools are answered, every
    turn with the turns before it as they stand in the data, and the calls compared with the expected ones; the rest is
    loss. Results are kept as they come: the same command goes on where it was interrupted.

    \b
    Example:
      lfwrap eval latest
      lfwrap eval runs/A/output/checkpoint-138 best=runs/A/output/checkpoint-204 --data tools_val --show-failures 5
      lfwrap eval latest --suite bfcl-simple --bfcl-dir bfcl/data --limit 100
      lfwrap eval latest --suite lm-eval:arc_easy,hellaswag
    """
    _check(args)
    if args.answers is not None:
        _score_file(args, args.answers)
    elif args.suite is not None and _tasks(args.suite):
        _run_harness(args, args.suite)
    else:
        _evaluate(args)


def _check(args: EvalArgs) -> None:
    """Raise UsageError for options that contradict each other."""
    answers = args.answers
    if answers is None and not args.models.targets:
        raise UsageError("TARGET: name what is to be measured.", hint="A run, an adapter, a model; or --answers FILE.")
    if answers is not None and args.models.targets:
        raise UsageError("--answers takes no TARGET: no model is asked.", hint="Leave one of the two out.")
    if answers is not None and not (args.data or args.suite == _BFCL):
        raise UsageError("--answers: the questions are missing.", hint="--data NAME|FILE, or --suite bfcl-simple.")
    if args.suite is not None and args.data is not None:
        raise UsageError("--suite and --data: give only one of them.", hint="See lfwrap eval --help.")
    if args.suite is not None and args.suite != _BFCL and not _tasks(args.suite):
        raise UsageError(f"--suite {args.suite}: no such suite.", hint=f"{_BFCL}, or {_HARNESS}TASK,TASK.")
    if args.suite == _BFCL and args.bfcl_dir is None:
        raise UsageError(f"--suite {_BFCL} needs --bfcl-dir DIR.", hint="BFCL's data files are not part of lfwrap.")
    if not args.with_loss and not args.with_calls:
        raise UsageError("--no-loss and --no-calls leave nothing to measure.", hint="Leave one of them out.")


def _tasks(suite: str) -> str:
    """The harness's tasks; empty for another suite."""
    return suite.removeprefix(_HARNESS) if suite.startswith(_HARNESS) else ""


def _evaluate(args: EvalArgs) -> None:
    from lfwrap.cli.view.answering import AnswerProgress
    from lfwrap.cli.view.evaluation import show_failed, show_report
    from lfwrap.evaluate.evaluate import evaluate
    from lfwrap.inference.candidates import with_base

    engine, named = open_targets(args.models)
    runs = _runs(args, named)
    material, notes = _material(args, engine, named, runs)
    for note in notes:
        output.say(f"note: {note}")
    candidates = with_base(named) if args.with_base else named
    settings = _settings(args, runs)
    folder = _folder(args, material, settings)
    output.say(f"{material.name}: {len(material.rows)} rows for the loss, {len(material.cases)} cases with tools; "
               f"results go to {folder}")  # fmt: skip
    with AnswerProgress() as progress:
        report = evaluate(engine, candidates, material, settings, folder, listener=progress.listener())
    report["folder"] = str(folder)
    if args.as_json:
        output.print_json("eval", report)
    else:
        show_report(report, per_tool=args.per_tool)
    for model in report["models"]:
        show_failed(model, args.show_failures)


def _runs(args: EvalArgs, named: list[ModelUnderTest]) -> list[Run]:
    from lfwrap.inference.candidates import run_of

    found = (run_of(each.target, args.models.runs_dir) for each in named)
    return list({run.paths.root: run for run in found if run is not None}.values())


def _material(
    args: EvalArgs, engine: Engine, named: list[ModelUnderTest], runs: list[Run]
) -> tuple[Material, tuple[str, ...]]:
    """The rows and cases to measure on, and notes for the person."""
    from lfwrap.evaluate.evaluate import Material
    from lfwrap.evaluate.tool_calls.cases import seen_tools, tool_cases
    from lfwrap.inference.held_out_rows import load_rows, validation_rows

    template = named[0].target.template
    if args.suite == _BFCL:
        return _bfcl_material(args, template)
    if args.data is not None:
        rows = load_rows(args.data, args.dataset_dir, template)
    elif runs:
        rows = validation_rows(runs[0], engine)
    else:
        raise UsageError(
            f"{named[0].target.name}: not the result of a run, so it has no validation split",
            hint="Name the rows: --data NAME|FILE.",
        )
    notes = (f"{rows.unreadable} rows of {rows.name} can't be read and are left out.",) if rows.unreadable else ()
    rows = rows.sampled(args.limit, args.seed)
    cases = tuple(tool_cases(rows.rows)) if args.with_calls else ()
    seen = seen_tools(runs) if cases else None
    material = Material(
        rows.name, rows.digest, rows.rows if args.with_loss else (), cases, seen.names if seen else None
    )
    return material, (*notes, *(seen.notes if seen else ()))


def _bfcl_material(args: EvalArgs, template: str) -> tuple[Material, tuple[str, ...]]:
    from lfwrap.evaluate.evaluate import Material
    from lfwrap.evaluate.tool_calls.bfcl import load_bfcl
    from lfwrap.evaluate.tool_calls.cases import sample_cases
    from lfwrap.files import canonical_json, sha256_bytes

    assert args.bfcl_dir is not None  # noqa: S101 - checked with the command line
    suite = load_bfcl(args.bfcl_dir, template)
    cases = sample_cases(suite.cases, args.limit, args.seed)
    digest = sha256_bytes(canonical_json([case.question.to_request() for case in cases]))
    notes = tuple(f"{key} is left out: {reason}." for key, reason in suite.left_out.items())
    return Material(suite.path.stem, digest, (), cases), notes


def _settings(args: EvalArgs, runs: list[Run]) -> EvalSettings:
    from lfwrap.engine.contract import GenerationSettings
    from lfwrap.evaluate.evaluate import EvalSettings
    from lfwrap.inference.held_out_rows import LabelSettings

    labels = LabelSettings.of_run(runs[0] if runs else None, args.cutoff_len)
    return EvalSettings(labels, GenerationSettings(args.max_new_tokens), args.batch_size)


def _folder(args: EvalArgs, material: Material, settings: EvalSettings) -> Path:
    """Where results go: one folder for each data and each way of asking. Raises UsageError for somebody else's."""
    from dataclasses import asdict

    from lfwrap.evaluate.evaluate import clear_results, holds_results
    from lfwrap.files import canonical_json, sha256_bytes

    identity = {"data": material.digest, "labels": asdict(settings.labels), "generation": asdict(settings.generation)}
    digest = sha256_bytes(canonical_json(identity))[:_DIGEST_DIGITS]
    folder = args.out or Path("evals") / f"{_stem(Path(material.name).stem)}-{digest}"
    if folder.is_dir() and any(folder.iterdir()) and not holds_results(folder):
        raise UsageError(f"{folder}: not empty, and not an evaluation", hint="Name another folder: --out DIR.")
    if args.force:
        clear_results(folder)
    return folder


def _stem(name: str) -> str:
    """A name as a part of a folder's."""
    import re

    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _score_file(args: EvalArgs, path: Path) -> None:
    from lfwrap.cli.view.evaluation import show_report
    from lfwrap.evaluate.evaluate import Material, score_answers
    from lfwrap.evaluate.external_answers import load_answers
    from lfwrap.evaluate.tool_calls.cases import tool_cases
    from lfwrap.inference.held_out_rows import load_rows

    if args.suite == _BFCL:
        material, notes = _bfcl_material(args, args.models.template or "")
    else:
        rows = load_rows(str(args.data), args.dataset_dir, args.models.template or "")
        rows = rows.sampled(args.limit, args.seed)
        material, notes = Material(rows.name, rows.digest, (), tuple(tool_cases(rows.rows))), ()
    for note in notes:
        output.say(f"note: {note}")
    texts = load_answers(path)
    unanswered = sum(case.key not in texts for case in material.cases)
    figures = score_answers(texts, material)
    model = {"name": path.name, "unanswered": unanswered, "calls_in_any_format": figures}
    report = {"data": material.name, "cases": len(material.cases), "models": [model]}
    if args.as_json:
        output.print_json("eval", report)
        return
    if unanswered:
        output.say(f"{path}: no answer to {unanswered} of {len(material.cases)} cases: they count as wrong")
    show_report(report, per_tool=False)


def _run_harness(args: EvalArgs, suite: str) -> None:
    from lfwrap.cli.view.evaluation import show_harness
    from lfwrap.evaluate.lm_harness import (
        HarnessOptions,
        find_harness,
        harness_command,
        read_results,
        run_harness,
    )
    from lfwrap.inference.candidates import with_base

    engine, named = open_targets(args.models)
    tasks = _tasks(suite)
    options = HarnessOptions(tasks, str(args.batch_size), args.limit, args.seed, args.harness_arguments)
    program = find_harness(engine)
    root = args.out or Path("evals") / f"lm-eval-{_stem(tasks)}"
    models = []
    for each in with_base(named) if args.with_base else named:
        out = root / each.file_stem
        command = harness_command(program, each.target, options, out)
        results = None if args.force else read_results(out, command, each.target)
        if results is None:
            import shlex

            output.say(f"{each.name}: {shlex.join(command)}")
            results = run_harness(command, each.target, out)
        models.append({"name": each.name, "target": each.target.to_json(), "command": command, "results": results})
    report = {"suite": suite, "models": models, "folder": str(root)}
    if args.as_json:
        output.print_json("eval-harness", report)
    else:
        show_harness(report)
