"""Ask all models the same questions: one load for each base, adapters swapped, every answer kept as it comes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lfwrap.engine.contract import GenerationSettings
from lfwrap.engine.locate import Engine
from lfwrap.errors import LfwrapError, PreflightError, UsageError
from lfwrap.evaluate.comparison import Column, CompareRequest, Comparison
from lfwrap.evaluate.judge import Judge, JudgeAddress, Pair, Verdict, Winner
from lfwrap.evaluate.text_scores import TextScorer
from lfwrap.files import canonical_json, locked, sha256_bytes
from lfwrap.inference.candidates import ModelUnderTest, require_distinct
from lfwrap.inference.model_pool import AnsweringListener, LoadedModel, ModelLoad, for_each_model
from lfwrap.inference.questions import Question
from lfwrap.inference.result_journal import ResultJournal
from lfwrap.inference.session import Answer, AnswerSession, beyond_context

DEFAULT_FOLDER = Path("comparisons")
_DIGEST_DIGITS = 8
_UNSAFE = re.compile(r"[^\w.-]+")


def default_folder(stem: str, questions: Sequence[Question], settings: GenerationSettings, model: str) -> Path:
    """Where answers go when the user names no folder: the same questions, put in the same way, give the same one."""
    request = [[question.to_request() for question in questions], settings.to_json(), model]
    name = _UNSAFE.sub("-", stem).strip("-.") or "questions"
    return DEFAULT_FOLDER / f"{name}-{sha256_bytes(canonical_json(request))[:_DIGEST_DIGITS]}"


def compare(engine: Engine, request: CompareRequest, listener: AnsweringListener | None = None) -> Comparison:
    """Let all models answer, and put the answers side by side; what ``out`` already holds is not asked again.

    Raises:
        UsageError: nothing to compare, or the folder holds answers that were given otherwise.
        RunStateError: another lfwrap works in the folder.
        PreflightError: the folder can't be written, or the judge can't be reached.
        EngineError: a model can't be loaded, or fails.
    """
    listener = listener or AnsweringListener()
    if not request.candidates or not request.questions:
        raise UsageError("nothing to compare", hint="Give at least one target and one question.")
    require_distinct(request.candidates)
    _check_folder(request.out)
    with locked(request.out / ".lock", timeout_s=0), contextlib.ExitStack() as stack:
        journals = {each.name: stack.enter_context(_journal(engine, request, each)) for each in request.candidates}
        loads = _answer(engine, request, journals, listener)
        verdicts = _judge(request, journals, listener)
    columns = [
        Column(
            each,
            {number: _kept_answer(entry) for number, entry in journals[each.name].results.items()},
            _computed_in(journals[each.name]),
            verdicts.get(each.name, {}),
        )
        for each in request.candidates
    ]
    return Comparison(request, columns, _scorer(request.questions, listener), loads)


def _check_folder(out: Path) -> None:
    """A folder of the user's own things is not one to write into."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file", hint="Name a folder: --out DIR.")
    if out.is_dir() and any(out.iterdir()) and not (out / "answers").is_dir():
        raise UsageError(f"{out}: not empty, and not a comparison", hint="Name another folder: --out DIR.")
    try:
        (out / "answers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PreflightError(f"{out}: can't be written: {error.strerror}", hint="Name another: --out DIR.") from error


def _journal(engine: Engine, request: CompareRequest, candidate: ModelUnderTest) -> ResultJournal:
    header = {
        "schema": "lfwrap.compare-answers/1",
        **candidate.fingerprint(engine.version),
        "questions": request.questions_digest,
        "settings": request.settings.to_json(),
    }
    return ResultJournal(request.out / "answers" / f"{candidate.file_stem}.jsonl", header, force=request.force)


def _kept_answer(entry: Mapping[str, Any]) -> Answer:
    return Answer.from_event({key: value for key, value in entry.items() if key not in {"device", "dtype"}})


def _computed_in(journal: ResultJournal) -> dict[str, Any]:
    """Where the answers were given; of several places the last."""
    entry = next(reversed(journal.results.values()), {})
    return {"device": entry.get("device"), "dtype": entry.get("dtype")}


def _answer(
    engine: Engine, request: CompareRequest, journals: Mapping[str, ResultJournal], listener: AnsweringListener
) -> Sequence[ModelLoad]:
    """Each model answers what it has not answered yet."""
    total = len(request.questions)
    for name, journal in journals.items():
        if journal.results:
            listener.on_note(f"{name}: {len(journal.results)} of {total} answers were there already")

    def work(loaded: LoadedModel[AnswerSession]) -> None:
        """Ask one loaded model all the questions that have no answer yet."""
        name, session = loaded.candidate.name, loaded.session
        where = {"device": session.ready.get("device"), "dtype": session.ready.get("dtype")}
        known = set(journals[name].results)
        for answer in session.answer_all(request.questions, loaded.adapter, batch_size=request.batch_size, known=known):
            journals[name].add(answer.id, {**answer.to_json(), **where})
            listener.on_progress(name, len(journals[name].results), total)
            if remark := beyond_context(answer, session.ready):
                listener.on_note(f"{name}, question {answer.id + 1}: {remark}")

    waiting = [each for each in request.candidates if len(journals[each.name].results) < total]
    return for_each_model(
        lambda target, adapters: AnswerSession(engine, target, adapters=adapters, settings=request.settings),
        waiting, work, listener,
    )  # fmt: skip


def _judge(
    request: CompareRequest, journals: Mapping[str, ResultJournal], listener: AnsweringListener
) -> dict[str, dict[int, Verdict]]:
    if request.judge is None:
        return {}
    baseline, *others = request.candidates
    first = journals[baseline.name].results
    found: dict[str, dict[int, Verdict]] = {}
    for each in others:
        second = journals[each.name].results
        texts = {number: [first[number]["text"], second[number]["text"]] for number in first}
        header = {
            "schema": "lfwrap.compare-verdicts/1",
            "judge": [request.judge.shown_url, request.judge.model],
            "answers": sha256_bytes(canonical_json(sorted(texts.items()))),
            "baseline": baseline.name,
        }
        path = request.out / "verdicts" / f"{each.file_stem}.jsonl"
        with ResultJournal(path, header, force=True) as journal:  # verdicts on other answers are of no use
            for done in _judge_left(request.judge, request.questions, journal, texts):
                listener.on_progress(f"judge: {each.name}", done, len(request.questions))
            found[each.name] = {number: _verdict(entry) for number, entry in journal.results.items()}
    return found


def _judge_left(
    address: JudgeAddress, questions: Sequence[Question], journal: ResultJournal, texts: Mapping[int, Sequence[str]]
) -> Iterator[int]:
    """Judge what has no verdict yet; how many there are, after each."""
    pairs = []
    for question in questions:
        if question.id in journal.results:
            continue
        first, second = texts[question.id]
        if first == second:
            same = Verdict(question.id, Winner.TIE, Winner.TIE, Winner.TIE, ("the same answer", "the same answer"))
            journal.add(question.id, same.to_json())
        else:
            pairs.append(Pair(question.id, question.text, first, second, question.reference))
    for verdict in Judge(address).judge_all(pairs):
        journal.add(verdict.id, verdict.to_json())
        yield len(journal.results)


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    winner, in_order, swapped = (Winner(entry[key]) for key in ("winner", "in_order", "swapped"))
    return Verdict(entry["id"], winner, in_order, swapped, (entry["reasons"][0], entry["reasons"][1]))


def _scorer(questions: Sequence[Question], listener: AnsweringListener) -> TextScorer | None:
    """The scorer where there are references; without its packages the comparison goes on, and says so."""
    if not any(question.reference is not None for question in questions):
        return None
    try:
        return TextScorer()
    except LfwrapError as error:
        listener.on_note(f"{error.message}: left out. {error.hint}")
        return None
