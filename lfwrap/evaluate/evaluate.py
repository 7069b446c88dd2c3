"""Evaluate a base and what was tuned on it: one load of each base, adapters swapped, every result kept as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from lfwrap.engine.contract import GenerationSettings
from lfwrap.engine.locate import Engine
from lfwrap.evaluate.judged import judge_answer
from lfwrap.evaluate.metrics import RowLoss, tally_calls, tally_losses
from lfwrap.evaluate.scoring import EvalSession
from lfwrap.evaluate.tool_calls.cases import Case
from lfwrap.evaluate.tool_calls.matching import read_leniently
from lfwrap.files import atomic_open, write_json
from lfwrap.inference.candidates import Contestant
from lfwrap.inference.held_out_rows import EvalRow, LabelSettings
from lfwrap.inference.model_pool import Listener, Turn, take_turns
from lfwrap.inference.result_journal import AnswerBook

REPORT_NAME = "report.json"
_OWN_FILES = ("*.losses.jsonl", "*.answers.jsonl", "*.judged.jsonl", REPORT_NAME)


@dataclass(frozen=True, slots=True)
class Material:
    """The questions and rows that models are evaluated on.

    Attributes:
        name: the data set or the suite.
        digest: tells another state of it.
        rows: for the loss.
        cases: for tool calls.
        seen: the tools that training called; None when that is not known.
    """

    name: str
    digest: str
    rows: tuple[EvalRow, ...] = ()
    cases: tuple[Case, ...] = ()
    seen: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """The settings of an evaluation.

    Attributes:
        labels: which tokens count for the loss.
        generation: how to answer.
        batch_size: questions at once.
    """

    labels: LabelSettings
    generation: GenerationSettings
    batch_size: int = 8


def evaluate(
    engine: Engine,
    contestants: Sequence[Contestant],
    material: Material,
    settings: EvalSettings,
    folder: Path,
    *,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Measure every contestant and write ``report.json``; what ``folder`` already holds is not computed again.

    Raises:
        EngineError: a model can't be loaded, or fails.
        PreflightError: the folder can't be written.
    """
    listener = listener or Listener()
    with contextlib.ExitStack() as stack:
        books = {
            each.name: stack.enter_context(_Books(folder, engine, each, material, settings)) for each in contestants
        }
        waiting = [each for each in contestants if books[each.name].rows_left or books[each.name].cases_left]

        def act(turn: Turn[EvalSession]) -> None:
            book = books[turn.contestant.name]
            _measure_losses(turn, book, settings, listener)
            _collect_answers(turn, book, settings, listener)

        take_turns(
            lambda target, adapters: EvalSession(engine, target, adapters=adapters, settings=settings.generation),
            waiting, act, listener,
        )  # fmt: skip
    models = [_figures(each, books[each.name], material, folder) for each in contestants]
    report = {"data": material.name, "digest": material.digest, **_described(material, settings), "models": models}
    write_json(folder / REPORT_NAME, {"schema": "lfwrap.eval/1", **report})
    return report


def score_answers(texts: Mapping[str, str], material: Material) -> dict[str, Any]:
    """The figures of answers that were made elsewhere, read leniently: case → text. A case without one is wrong."""
    judged = [(case, case.judge(read_leniently(texts.get(case.key, ""), case.offered))) for case in material.cases]
    return tally_calls(judged, material.seen)


class _Books:
    """What one contestant has been asked, and what is left to do."""

    def __init__(
        self, folder: Path, engine: Engine, contestant: Contestant, material: Material, settings: EvalSettings
    ) -> None:
        self.material = material
        head = {**contestant.fingerprint(engine.version), "data": material.digest}
        stem = contestant.file_stem
        self.losses = AnswerBook(folder / f"{stem}.losses.jsonl", head | {"labels": asdict(settings.labels)})
        self.answers = AnswerBook(folder / f"{stem}.answers.jsonl", head | {"generation": asdict(settings.generation)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.losses.__exit__()
        self.answers.__exit__()

    @property
    def rows_left(self) -> list[EvalRow]:
        """Rows without a loss."""
        return [row for row in self.material.rows if row.number not in self.losses.results]

    @property
    def cases_left(self) -> list[Case]:
        """Cases without an answer."""
        return [case for case in self.material.cases if case.question.id not in self.answers.results]


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of an evaluation."""
    return any(folder.glob("*.answers.jsonl"))


def clear_results(folder: Path) -> None:
    """Take away the results that a folder holds, and nothing else."""
    for pattern in _OWN_FILES:
        for path in folder.glob(pattern):
            path.unlink()


def _measure_losses(turn: Turn[EvalSession], book: _Books, settings: EvalSettings, listener: Listener) -> None:
    rows = book.rows_left
    if not rows:
        return
    for loss in turn.session.losses(rows, turn.adapter, settings.labels):
        book.losses.add(loss.id, asdict(loss))
        listener.on_progress(f"{turn.contestant.name}: loss", len(book.losses.results), len(book.material.rows))


def _collect_answers(turn: Turn[EvalSession], book: _Books, settings: EvalSettings, listener: Listener) -> None:
    if not book.cases_left:
        return
    questions, known = [case.question for case in book.material.cases], set(book.answers.results)
    for answer in turn.session.answer_all(questions, turn.adapter, batch_size=settings.batch_size, known=known):
        book.answers.add(answer.id, answer.to_json())
        listener.on_progress(f"{turn.contestant.name}: answers", len(book.answers.results), len(book.material.cases))


def _described(material: Material, settings: EvalSettings) -> dict[str, Any]:
    return {
        "rows": len(material.rows),
        "cases": len(material.cases),
        "labels": asdict(settings.labels),
        "generation": asdict(settings.generation),
        "batch_size": settings.batch_size,
        "seen_tools": sorted(material.seen) if material.seen is not None else None,
    }


def _figures(contestant: Contestant, book: _Books, material: Material, folder: Path) -> dict[str, Any]:
    """One contestant's figures; its judged answers go to a file of their own."""
    figures = contestant.to_json()
    if material.rows:
        known = (book.losses.results[row.number] for row in material.rows)
        figures["loss"] = tally_losses(RowLoss(**loss) for loss in known)
    if material.cases:
        judged = [judge_answer(case, book.answers.results[case.question.id]) for case in material.cases]
        figures["calls"] = tally_calls([(each.case, each.strict) for each in judged], material.seen)
        figures["calls_in_any_format"] = tally_calls([(each.case, each.lenient) for each in judged], material.seen)
        figures["cut_answers"] = sum(each.answer["finish"] == "length" for each in judged)
        path = folder / f"{contestant.file_stem}.judged.jsonl"
        with atomic_open(path) as sink:
            sink.writelines(orjson.dumps(each.to_json(), option=orjson.OPT_APPEND_NEWLINE) for each in judged)
        figures["judged_answers"] = str(path)
    return figures
