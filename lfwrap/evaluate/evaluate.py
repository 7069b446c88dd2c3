"""Evaluate a base and what was tuned on it: one load of each base, adapters swapped, every result kept as it comes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson

from lfwrap.engine.contract import EVENT_DONE, OP_LOSSES, GenerationSettings, LossesRequest, Worker
from lfwrap.engine.locate import Engine
from lfwrap.evaluate.metrics import RowLoss, call_metrics, loss_metrics
from lfwrap.evaluate.tool_calls.cases import Case, judge_answer
from lfwrap.evaluate.tool_calls.matching import read_leniently
from lfwrap.files import atomic_open, write_json
from lfwrap.inference.candidates import ModelUnderTest
from lfwrap.inference.held_out_rows import EvalRow, LabelSettings
from lfwrap.inference.model_pool import AnsweringListener, LoadedModel, for_each_model
from lfwrap.inference.result_journal import ResultJournal
from lfwrap.inference.session import AnswerSession

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


class EvalSession(AnswerSession):
    """An `AnswerSession` with losses. Use it as a context: on leaving, the child is gone."""

    worker_script: ClassVar[Worker] = "score"

    def losses(self, rows: Sequence[EvalRow], adapter: str | None, labels: LabelSettings) -> Iterator[RowLoss]:
        """The loss of each row as it is known, the longest rows first; None for the base alone."""
        request: LossesRequest = {
            "op": OP_LOSSES,
            "adapter": adapter,
            "labels": labels.to_json(),
            "rows": [row.to_request() for row in rows],
        }
        self._worker.send(request)
        for event in self._worker.events(self._deadline_s):
            if event["event"] == EVENT_DONE:
                return
            yield RowLoss(**{name: value for name, value in event.items() if name != "event"})


def evaluate(
    engine: Engine,
    candidates: Sequence[ModelUnderTest],
    material: Material,
    settings: EvalSettings,
    folder: Path,
    *,
    listener: AnsweringListener | None = None,
) -> dict[str, Any]:
    """Measure every candidate and write ``report.json``; what ``folder`` already holds is not computed again.

    Raises:
        EngineError: a model can't be loaded, or fails.
        PreflightError: the folder can't be written.
    """
    listener = listener or AnsweringListener()
    with contextlib.ExitStack() as stack:
        journals = {
            each.name: stack.enter_context(_Journals(folder, engine, each, material, settings)) for each in candidates
        }
        waiting = [each for each in candidates if journals[each.name].rows_left or journals[each.name].cases_left]

        def work(loaded: LoadedModel[EvalSession]) -> None:
            """Measure one loaded model, and write its results into its journal."""
            journal = journals[loaded.candidate.name]
            _measure_losses(loaded, journal, settings, listener)
            _collect_answers(loaded, journal, settings, listener)

        for_each_model(
            lambda target, adapters: EvalSession(engine, target, adapters=adapters, settings=settings.generation),
            waiting, work, listener,
        )  # fmt: skip
    models = [_figures(each, journals[each.name], material, folder) for each in candidates]
    report = {"data": material.name, "digest": material.digest, **_described(material, settings), "models": models}
    write_json(folder / REPORT_NAME, {"schema": "lfwrap.eval/1", **report})
    return report


def score_answers(texts: Mapping[str, str], material: Material) -> dict[str, Any]:
    """The figures of answers that were made elsewhere, read leniently: case → text. A case without one is wrong."""
    judged = [(case, case.judge(read_leniently(texts.get(case.key, ""), case.offered))) for case in material.cases]
    return call_metrics(judged, material.seen)


class _Journals:
    """What one candidate has been asked, and what is left to do."""

    def __init__(
        self, folder: Path, engine: Engine, candidate: ModelUnderTest, material: Material, settings: EvalSettings
    ) -> None:
        self.material = material
        head = {**candidate.fingerprint(engine.version), "data": material.digest}
        stem = candidate.file_stem
        self.losses = ResultJournal(folder / f"{stem}.losses.jsonl", head | {"labels": asdict(settings.labels)})
        self.answers = ResultJournal(
            folder / f"{stem}.answers.jsonl", head | {"generation": asdict(settings.generation)}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.losses.__exit__()
        self.answers.__exit__()

    @property
    def rows_left(self) -> list[EvalRow]:
        """Rows whose loss is still to be measured."""
        return [row for row in self.material.rows if row.number not in self.losses.results]

    @property
    def cases_left(self) -> list[Case]:
        """Cases that are still to be answered."""
        return [case for case in self.material.cases if case.question.id not in self.answers.results]


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of an evaluation."""
    return any(folder.glob("*.answers.jsonl"))


def clear_results(folder: Path) -> None:
    """Take away the results that a folder holds, and nothing else."""
    for pattern in _OWN_FILES:
        for path in folder.glob(pattern):
            path.unlink()


def _measure_losses(
    loaded: LoadedModel[EvalSession], journal: _Journals, settings: EvalSettings, listener: AnsweringListener
) -> None:
    rows = journal.rows_left
    if not rows:
        return
    for loss in loaded.session.losses(rows, loaded.adapter, settings.labels):
        journal.losses.add(loss.id, asdict(loss))
        listener.on_progress(f"{loaded.candidate.name}: loss", len(journal.losses.results), len(journal.material.rows))


def _collect_answers(
    loaded: LoadedModel[EvalSession], journal: _Journals, settings: EvalSettings, listener: AnsweringListener
) -> None:
    if not journal.cases_left:
        return
    questions, known = [case.question for case in journal.material.cases], set(journal.answers.results)
    for answer in loaded.session.answer_all(questions, loaded.adapter, batch_size=settings.batch_size, known=known):
        journal.answers.add(answer.id, answer.to_json())
        listener.on_progress(
            f"{loaded.candidate.name}: answers", len(journal.answers.results), len(journal.material.cases)
        )


def _described(material: Material, settings: EvalSettings) -> dict[str, Any]:
    return {
        "rows": len(material.rows),
        "cases": len(material.cases),
        "labels": asdict(settings.labels),
        "generation": asdict(settings.generation),
        "batch_size": settings.batch_size,
        "seen_tools": sorted(material.seen) if material.seen is not None else None,
    }


def _figures(candidate: ModelUnderTest, journal: _Journals, material: Material, folder: Path) -> dict[str, Any]:
    """One candidate's figures; its judged answers go to a file of their own."""
    figures = candidate.to_json()
    if material.rows:
        known = (journal.losses.results[row.number] for row in material.rows)
        figures["loss"] = loss_metrics(RowLoss(**loss) for loss in known)
    if material.cases:
        judged = [judge_answer(case, journal.answers.results[case.question.id]) for case in material.cases]
        figures["calls"] = call_metrics([(each.case, each.strict) for each in judged], material.seen)
        figures["calls_in_any_format"] = call_metrics([(each.case, each.lenient) for each in judged], material.seen)
        figures["cut_answers"] = sum(each.answer["finish"] == "length" for each in judged)
        path = folder / f"{candidate.file_stem}.judged.jsonl"
        with atomic_open(path) as sink:
            sink.writelines(orjson.dumps(each.to_json(), option=orjson.OPT_APPEND_NEWLINE) for each in judged)
        figures["judged_answers"] = str(path)
    return figures
