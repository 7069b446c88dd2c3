"""How nearly a model says what the reference said: figures along the reference's answers, whatever runs the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self


class AnswerFigures(Protocol):
    """The figures of one question."""

    @property
    def same_answer(self) -> bool:
        """Whether the greedy answers are the same tokens."""

    @property
    def answer_tokens(self) -> int:
        """The length of the reference's answer."""

    @property
    def same_top_tokens(self) -> int:
        """Positions along that answer at which both hold the same token likeliest."""

    @property
    def reference_logprob(self) -> float:
        """The log-probability of that answer under the reference."""

    @property
    def logprob(self) -> float:
        """The log-probability of that answer under the other model."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How nearly two models say the same, over several questions.

    Attributes:
        same_answers: questions that both answered with the same tokens.
        questions: all of them.
        tokens: the share of positions, along the reference's answers, at which both hold the same token likeliest.
        perplexity_reference: of the reference's answers, under the reference: exp(-mean log-probability of a token).
        perplexity: of the same answers, under the other model.
    """

    same_answers: int
    questions: int
    tokens: float
    perplexity_reference: float
    perplexity: float

    @classmethod
    def of(cls, rows: Sequence[AnswerFigures]) -> Self:
        """From the figures of each question."""
        tokens = sum(row.answer_tokens for row in rows)
        before, after = (
            math.exp(-sum(values) / (tokens or 1))
            for values in ([row.reference_logprob for row in rows], [row.logprob for row in rows])
        )
        agreeing = sum(row.same_top_tokens for row in rows)
        return cls(sum(row.same_answer for row in rows), len(rows), agreeing / tokens if tokens else 1.0, before, after)

    @property
    def perplexity_change(self) -> float:
        """By how much the perplexity grew: 0.05 for 5%."""
        return self.perplexity / self.perplexity_reference - 1

    def summary(self) -> str:
        """The agreement on one line."""
        return (
            f"{self.same_answers} of {self.questions} greedy answers the same; {self.tokens:.1%} of tokens agree; "
            f"perplexity {self.perplexity_reference:.4g} → {self.perplexity:.4g} ({self.perplexity_change:+.1%})"
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``export.json``."""
        return {
            "same_answers": self.same_answers,
            "questions": self.questions,
            "top_token_agreement": round(self.tokens, 4),
            "perplexity_reference": round(self.perplexity_reference, 4),
            "perplexity": round(self.perplexity, 4),
            "perplexity_change": round(self.perplexity_change, 4),
        }
