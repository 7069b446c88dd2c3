"""Evaluate a base and what was tuned on it: one load of each base, adapters swapped, every result kept as it comes."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import orjson

from lfwrap.engine.locate import Engine
from lfwrap.fsio import atomic_open, canonical_json, write_json
from lfwrap.results.answers import GenerationSettings
from lfwrap.results.evaluation.cases import Case
from lfwrap.results.evaluation.journal import Journal
from lfwrap.results.evaluation.judged import judge_answer
from lfwrap.results.evaluation.rows import EvalRow, LabelSettings
from lfwrap.results.evaluation.session import EvalSession
from lfwrap.results.evaluation.tally import RowLoss, tally_calls, tally_losses
from lfwrap.results.evaluation.tool_calls import read_leniently
from lfwrap.results.target import MODEL_WEIGHTS, Target

BASE = "base"
REPORT_NAME = "eval.json"
_ADAPTER_WEIGHTS = ("adapter_model*.safetensors", "adapter_model*.bin", "adapter_config.json")
_OWN_FILES = ("*.losses.jsonl", "*.answers.jsonl", "*.judged.jsonl", REPORT_NAME)
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Contestant:
    """One column of the table.

    Attributes:
        label: its name there.
        target: what answers; without an adapter it is the base, or a whole model.
    """

    label: str
    target: Target


@dataclass(frozen=True, slots=True)
class Material:
    """What is asked.

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
    """How to evaluate.

    Attributes:
        labels: which tokens count for the loss.
        generation: how to answer.
        batch_size: questions at once.
    """

    labels: LabelSettings
    generation: GenerationSettings
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class Listener:
    """Who wants to know how far it is.

    Attributes:
        on_load: a base is about to be loaded.
        on_progress: contestant, what, done, of how many.
    """

    on_load: Callable[[str], None] = lambda _: None
    on_progress: Callable[[str, str, int, int], None] = lambda *_: None


def distinct_labels(contestants: Sequence[Contestant]) -> list[Contestant]:
    """The contestants with labels: their own, else the last part of what they were called, or more of it."""
    own = [each.label or Path(each.target.name).name or each.target.name for each in contestants]
    return [
        Contestant(label if each.label or own.count(label) == 1 else each.target.name, each.target)
        for each, label in zip(contestants, own, strict=True)
    ]


def with_bases(contestants: Sequence[Contestant]) -> list[Contestant]:
    """The contestants, each base that one of them is tuned on before the first of these."""
    everyone: list[Contestant] = []
    whole = {_load_key(each.target) for each in contestants if each.target.adapter is None}
    several = len({_load_key(each.target) for each in contestants if each.target.adapter}) > 1
    for contestant in contestants:
        target = contestant.target
        if target.adapter is not None and _load_key(target) not in whole:
            whole.add(_load_key(target))
            label = f"{BASE} of {contestant.label}" if several else BASE
            everyone.append(Contestant(label, dataclasses.replace(target, adapter=None)))
        everyone.append(contestant)
    return everyone


def evaluate(
    engine: Engine,
    contestants: Sequence[Contestant],
    material: Material,
    settings: EvalSettings,
    folder: Path,
    *,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Measure every contestant and write ``eval.json``; what ``folder`` already holds is not computed again.

    Raises:
        EngineError: a model can't be loaded, or fails.
        PreflightError: the folder can't be written.
    """
    listener = listener or Listener()
    with contextlib.ExitStack() as stack:
        books = {
            each.label: stack.enter_context(_Books(folder, engine, each, material, settings)) for each in contestants
        }
        for group in _groups(contestants):
            _work(engine, group, [books[each.label] for each in group], settings, listener)
    models = [_figures(each, books[each.label], material, folder) for each in contestants]
    report = {"data": material.name, "digest": material.digest, **_described(material, settings), "models": models}
    write_json(folder / REPORT_NAME, {"schema": "lfwrap.eval/1", **report})
    return report


def score_answers(texts: Mapping[str, str], material: Material) -> dict[str, Any]:
    """The figures of answers that were made elsewhere, read leniently: case → text. A case without one is wrong."""
    judged = [(case, case.judge(read_leniently(texts.get(case.key, ""), case.offered))) for case in material.cases]
    return tally_calls(judged, material.seen)


def _load_key(target: Target) -> bytes:
    return canonical_json(target.engine_arguments())


def _groups(contestants: Sequence[Contestant]) -> Iterator[list[Contestant]]:
    """Those that share a load."""
    keys = dict.fromkeys(_load_key(each.target) for each in contestants)
    for key in keys:
        yield [each for each in contestants if _load_key(each.target) == key]


class _Books:
    """What one contestant has been asked, and what is left to do."""

    def __init__(
        self, folder: Path, engine: Engine, contestant: Contestant, material: Material, settings: EvalSettings
    ) -> None:
        self.contestant = contestant
        self.material = material
        target = contestant.target
        head = {
            "engine": engine.version,
            "load": target.engine_arguments(),
            "adapter": str(target.adapter or ""),
            "weights": _fingerprint(target),
            "data": material.digest,
        }
        stem = file_stem(contestant.label)
        self.losses = Journal(folder / f"{stem}.losses.jsonl", head | {"labels": asdict(settings.labels)})
        self.answers = Journal(folder / f"{stem}.answers.jsonl", head | {"generation": asdict(settings.generation)})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.losses.close()
        self.answers.close()

    @property
    def rows_left(self) -> list[EvalRow]:
        """Rows without a loss."""
        return [row for row in self.material.rows if str(row.number) not in self.losses.done]

    @property
    def cases_left(self) -> list[Case]:
        """Cases without an answer."""
        return [case for case in self.material.cases if case.key not in self.answers.done]


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of an evaluation."""
    return any(folder.glob("*.answers.jsonl"))


def clear_results(folder: Path) -> None:
    """Take away the results that a folder holds, and nothing else."""
    for pattern in _OWN_FILES:
        for path in folder.glob(pattern):
            path.unlink()


def file_stem(label: str) -> str:
    """A label as the beginning of file names."""
    return _UNSAFE.sub("-", label).strip("-") or "model"


def _fingerprint(target: Target) -> list[list[Any]]:
    """Name, size and time of the files of the weights: others mean other results."""
    folder = target.adapter or Path(target.model)
    patterns = _ADAPTER_WEIGHTS if target.adapter else (*MODEL_WEIGHTS, "config.json")
    files = sorted(path for pattern in patterns for path in folder.glob(pattern)) if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _work(
    engine: Engine, group: Sequence[Contestant], books: Sequence[_Books], settings: EvalSettings, listener: Listener
) -> None:
    if not any(each.rows_left or each.cases_left for each in books):
        return
    adapters = {each.label: each.target.adapter for each in group if each.target.adapter}
    target = group[0].target
    listener.on_load(target.model)
    with EvalSession(engine, target, adapters=adapters, settings=settings.generation) as session:
        for book in books:
            adapter = book.contestant.label if book.contestant.target.adapter else None
            _measure_losses(session, book, adapter, settings, listener)
            _collect_answers(session, book, adapter, settings, listener)


def _measure_losses(
    session: EvalSession, book: _Books, adapter: str | None, settings: EvalSettings, listener: Listener
) -> None:
    rows = book.rows_left
    if not rows:
        return
    for loss in session.losses(rows, adapter, settings.labels):
        book.losses.add(str(loss.id), asdict(loss))
        listener.on_progress(book.contestant.label, "loss", len(book.losses.done), len(book.material.rows))


def _collect_answers(
    session: EvalSession, book: _Books, adapter: str | None, settings: EvalSettings, listener: Listener
) -> None:
    cases = book.cases_left
    if not cases:
        return
    keys = {case.question.id: case.key for case in cases}
    questions = [case.question for case in cases]
    for answer in session.answer_all(questions, adapter, batch_size=settings.batch_size):
        book.answers.add(keys[answer.id], answer.to_json())
        listener.on_progress(book.contestant.label, "answers", len(book.answers.done), len(book.material.cases))


def _described(material: Material, settings: EvalSettings) -> dict[str, Any]:
    return {
        "rows": len(material.rows),
        "cases": len(material.cases),
        "labels": asdict(settings.labels),
        "generation": asdict(settings.generation),
        "seen_tools": sorted(material.seen) if material.seen is not None else None,
    }


def _figures(contestant: Contestant, book: _Books, material: Material, folder: Path) -> dict[str, Any]:
    """One contestant's figures; its judged answers go to a file of their own."""
    figures: dict[str, Any] = {"label": contestant.label, "target": contestant.target.to_json()}
    if material.rows:
        known = (book.losses.done[str(row.number)] for row in material.rows)
        figures["loss"] = tally_losses(RowLoss(**loss) for loss in known)
    if material.cases:
        judged = [judge_answer(case, book.answers.done[case.key]) for case in material.cases]
        figures["tool_calls"] = {
            "template": tally_calls([(each.case, each.strict) for each in judged], material.seen),
            "lenient": tally_calls([(each.case, each.lenient) for each in judged], material.seen),
            "cut_answers": sum(each.answer["finish"] == "length" for each in judged),
        }
        path = folder / f"{file_stem(contestant.label)}.judged.jsonl"
        with atomic_open(path) as sink:
            sink.writelines(orjson.dumps(each.to_json(), option=orjson.OPT_APPEND_NEWLINE) for each in judged)
        figures["judged_answers"] = str(path)
    return figures
