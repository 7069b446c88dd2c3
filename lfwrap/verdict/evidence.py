"""Everything that a verdict is made from, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lfwrap.verdict.curves import Log, loss_change
from lfwrap.verdict.weights import WeightChange


@dataclass(frozen=True, slots=True)
class Margin:
    """How much better answers fit their own questions than those of other rows, in nats a token.

    Attributes:
        mean: the mean over rows.
        error: its standard error.
    """

    mean: float
    error: float

    @property
    def is_there(self) -> bool:
        """Whether it is above 0 by three standard errors."""
        return self.mean > 3 * self.error and self.mean > 0


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Right tool calls, tool and arguments, on a few rows.

    Attributes:
        cases: rows that ask for a call.
        base: right ones of the base.
        tuned: right ones of the result.
    """

    cases: int
    base: int
    tuned: int


@dataclass(frozen=True, slots=True)
class Answers:
    """The base and the result on the same rows.

    Attributes:
        source: where the rows are from: ``law_val``.
        is_held_out: whether they were not trained on.
        rows: rows whose loss was measured.
        base_loss: the base's loss a token on them.
        tuned_loss: the result's.
        gain: the mean over rows of base less result, with its error; None without losses.
        margin: of the result; None where it was not measured.
        base_margin: of the base.
        supervised_tokens: tokens that are trained on in these rows.
        asked: questions that both answered.
        changed: of these, answers that differ.
        calls: right tool calls; None where the rows have no tools, or were not asked.
    """

    source: str
    is_held_out: bool
    rows: int = 0
    base_loss: float | None = None
    tuned_loss: float | None = None
    gain: Margin | None = None
    margin: Margin | None = None
    base_margin: Margin | None = None
    supervised_tokens: int | None = None
    asked: int = 0
    changed: int = 0
    calls: CallCounts | None = None


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the first rows of the training data show.

    Attributes:
        rows: how many were looked at.
        distinct: how many of them differ.
        foreign_tokens: control tokens of the template of which the tokenizer knows none; empty where it knows some.
        template: the template.
    """

    rows: int = 0
    distinct: int = 0
    foreign_tokens: tuple[str, ...] = ()
    template: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of a run's success.

    Attributes:
        log: what the engine logged.
        weights: how far they moved; None where that is not known.
        answers: the base beside the result; None where they were not asked.
        data: what the data show.
        saved_step: updates done by the state beside the result; None where there is none.
        best_step: the step of the checkpoint that the trainer took for the best and loaded at the end; None without.
        kept_steps: steps of the checkpoints that are there.
        result_is_older: the result's file was written before the last start of the engine.
    """

    log: Log
    weights: WeightChange | None = None
    answers: Answers | None = None
    data: DataFacts = DataFacts()
    saved_step: int | None = None
    best_step: int | None = None
    kept_steps: tuple[int, ...] = ()
    result_is_older: bool = False

    def to_json(self) -> dict[str, Any]:
        """The figures as ``verdict.json`` has them."""
        training, evaluation = loss_change(self.log.training), self.log.evaluation
        least = min(evaluation, key=lambda point: point.loss, default=None)
        return {
            "losses": asdict(training) if training else None,
            "evaluation": {
                "first": evaluation[0].loss,
                "last": evaluation[-1].loss,
                "least": least.loss,
                "least_step": least.step,
                "evaluations": len(evaluation),
            }
            if least
            else None,
            "weights": asdict(self.weights) if self.weights else None,
            "answers": asdict(self.answers) if self.answers else None,
        }
