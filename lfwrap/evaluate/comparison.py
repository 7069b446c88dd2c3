"""A comparison as a value: who answered what, how long and how well; pure figures from answers that are there."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.engine.contract import GenerationSettings
from lfwrap.evaluate.judge import JudgeAddress, Verdict, Winner
from lfwrap.evaluate.text_scores import TextScorer, TextScores, mean, missing_keywords, normal
from lfwrap.files import canonical_json, sha256_bytes
from lfwrap.inference.candidates import ModelUnderTest
from lfwrap.inference.model_pool import ModelLoad
from lfwrap.inference.questions import Question
from lfwrap.inference.session import DEFAULT_BATCH_SIZE, Answer


@dataclass(frozen=True, slots=True)
class Column:
    """One model of a comparison, with its answers.

    Attributes:
        candidate: the model.
        answers: question → answer.
        computed_in: device and type of the weights when it answered.
        verdicts: question → the judge's verdict, the baseline being first; empty without a judge.
    """

    candidate: ModelUnderTest
    answers: Mapping[int, Answer]
    computed_in: Mapping[str, Any] = field(default_factory=dict)
    verdicts: Mapping[int, Verdict] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """The models and the questions of a comparison.

    Attributes:
        candidates: who answers; the first one is the baseline.
        questions: what is asked.
        source: where the questions come from, as the user named it.
        out: the folder that keeps the answers.
        settings: how to answer.
        batch_size: questions at once.
        must_contain: texts that every answer must hold.
        judge: a judge; None without one.
        force: replace answers in the folder that were given otherwise.
    """

    candidates: Sequence[ModelUnderTest]
    questions: Sequence[Question]
    source: str
    out: Path
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    batch_size: int = DEFAULT_BATCH_SIZE
    must_contain: tuple[str, ...] = ()
    judge: JudgeAddress | None = None
    force: bool = False

    @property
    def questions_digest(self) -> str:
        """SHA-256 over all that is put to the models."""
        return sha256_bytes(canonical_json([question.to_request() for question in self.questions]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Questions and what each model answered; the first one is the baseline.

    Attributes:
        request: the models and the questions.
        columns: the models' parts, in the user's order.
        scorer: compares with the references; None where there are none.
        loads: how long the loads of this call took; empty where all answers were there already.
    """

    request: CompareRequest
    columns: Sequence[Column]
    scorer: TextScorer | None = None
    loads: Sequence[ModelLoad] = ()

    def to_json(self) -> dict[str, Any]:
        """The whole report, as it stands in ``report.json``."""
        rows = [self._row(question) for question in self.request.questions]
        judge = self.request.judge
        return {
            "source": self.request.source,
            "questions": len(rows),
            "settings": self.request.settings.to_json(),
            "batch_size": self.request.batch_size,
            "loads": [asdict(load) for load in self.loads],
            "must_contain": list(self.request.must_contain),
            "judge": {"model": judge.model, "url": judge.shown_url} if judge else None,
            "baseline": self.columns[0].candidate.name,
            "targets": [
                {**column.candidate.to_json(), **column.computed_in, "summary": self._summary(column, rows)}
                for column in self.columns
            ],
            "rows": rows,
        }

    def _row(self, question: Question) -> dict[str, Any]:
        answers = {column.candidate.name: self._cell(question, column) for column in self.columns}
        texts = {normal(column.answers[question.id].text) for column in self.columns}
        return {
            "id": question.id,
            "question": question.text,
            "history": [dict(turn) for turn in question.messages[:-1]],
            "system": question.system,
            "reference": question.reference,
            "must_contain": [*self.request.must_contain, *question.must_contain],
            "all_same": len(texts) == 1,
            "answers": answers,
        }

    def _cell(self, question: Question, column: Column) -> dict[str, Any]:
        answer = column.answers[question.id]
        wanted = [*self.request.must_contain, *question.must_contain]
        cell = {key: value for key, value in answer.to_json().items() if key != "id"}
        scores = self._scores(question, answer)
        verdict = column.verdicts.get(question.id)
        return {
            **cell,
            "characters": len(answer.text),
            "scores": scores.to_json() if scores else None,
            "missing_keywords": missing_keywords(answer.text, wanted) if wanted else None,
            "verdict": verdict.to_json() if verdict else None,
        }

    def _scores(self, question: Question, answer: Answer) -> TextScores | None:
        if self.scorer is None or question.reference is None:
            return None
        return self.scorer.score(answer.text, question.reference)

    def _summary(self, column: Column, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        name = column.candidate.name
        cells = [row["answers"][name] for row in rows]
        seconds = sum(cell["seconds"] for cell in cells)
        tokens = [cell["answer_tokens"] for cell in cells]
        checked = [cell["missing_keywords"] for cell in cells if cell["missing_keywords"] is not None]
        baseline = self.columns[0].candidate.name
        return {
            "mean_answer_tokens": mean(tokens),
            "median_answer_tokens": statistics.median(tokens),
            "cut_at_limit": sum(cell["finish"] == "length" for cell in cells),
            "seconds": round(seconds, 2),
            "tokens_per_s": round(sum(tokens) / seconds, 1) if seconds else None,
            "same_as_baseline": sum(
                normal(row["answers"][name]["text"]) == normal(row["answers"][baseline]["text"]) for row in rows
            ),
            "scores": self._mean_scores(column, cells),
            "keywords": {"passed": sum(not missing for missing in checked), "checked": len(checked)},
            "verdicts": count_verdicts(column.verdicts.values()) if column.verdicts else None,
        }

    def _mean_scores(self, column: Column, cells: Sequence[Mapping[str, Any]]) -> dict[str, float | None] | None:
        scored = [cell["scores"] for cell in cells if cell["scores"]]
        if not scored or self.scorer is None:
            return None
        referenced = [question for question in self.request.questions if question.reference is not None]
        answers = [column.answers[question.id].text for question in referenced]
        corpus = self.scorer.corpus_chrf(answers, [question.reference or "" for question in referenced])
        means = {kind: mean([scores[kind] for scores in scored]) for kind in ("rouge1", "rouge2", "rougeL")}
        return {"chrf": round(corpus, 2), **means}


def count_verdicts(verdicts: Any) -> dict[str, int]:
    """Wins, losses and ties against the baseline; how many both orders agreed on, and how many were unclear."""
    judged = list(verdicts)
    by_winner = {winner: sum(verdict.winner is winner for verdict in judged) for winner in Winner}
    return {
        "wins": by_winner[Winner.SECOND],
        "losses": by_winner[Winner.FIRST],
        "ties": by_winner[Winner.TIE],
        "unclear": by_winner[Winner.UNCLEAR],
        "consistent": sum(verdict.is_consistent for verdict in judged),
        "judged": len(judged),
    }
