"""Does what was exported answer as what was trained? The figures of a comparison, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from lfwrap.engine import contract
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.errors import EngineError
from lfwrap.inference.agreement import Agreement
from lfwrap.inference.target import Target

DEFAULT_QUESTIONS = (
    "What should I look at first when something stops working?",
    "Explain in two sentences what you can help me with.",
    "请用两句话介绍一下你自己。",
)
DEFAULT_MAX_NEW_TOKENS = 32
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far rounding may carry two models apart, in logits.

    Attributes:
        mean_logit: the mean of |difference| over vocabulary and positions of one answer.
        tie: two answers may part where the reference preferred its own token by no more than this.
    """

    mean_logit: float
    tie: float


# By the exported type: merging rounds W + BA once to it. SmolLM2-135M shows means of 1e-5, 0.005 and 0.025 in fp32
# arithmetic; 16-bit arithmetic on a GPU adds its own. Another base, or a merge that did nothing, is off by 1 and more.
TOLERANCES = {
    "float32": Tolerance(0.002, 0.01),
    "float16": Tolerance(0.05, 0.1),
    "bfloat16": Tolerance(0.25, 0.5),
}


@dataclass(frozen=True, slots=True)
class TokenDifference:
    """The first token at which two answers differ.

    Attributes:
        position: token of the answer, from 0.
        reference_token: what the reference wrote there.
        exported_token: what the exported model wrote.
        reference_margin: by how many logits the reference preferred its own.
    """

    position: int
    reference_token: str
    exported_token: str
    reference_margin: float


@dataclass(frozen=True, slots=True)
class ParityRow:
    """The figures of one question; see the worker ``parity`` for how they are taken."""

    question: str
    reference_answer: str
    exported_answer: str
    same_prompt: bool
    same_answer: bool
    answer_tokens: int
    mean_abs_logit_difference: float
    max_abs_logit_difference: float
    first_difference: TokenDifference | None = None
    same_top_tokens: int = 0
    reference_logprob: float = 0.0
    logprob: float = 0.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ParityRow:
        """A row as the worker reports it."""
        difference = value.get("first_difference")
        return cls(**{**value, "first_difference": TokenDifference(**difference) if difference else None})


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The figures of one model beside the reference, question by question.

    Attributes:
        dtype: the exported type.
        compute_dtype: the type both sides were computed in.
        device: where.
        rows: one for each question.
        seconds: how long it took.
    """

    dtype: str
    compute_dtype: str
    device: str
    rows: tuple[ParityRow, ...]
    seconds: float

    @classmethod
    def from_side(cls, dtype: str, side: Mapping[str, Any]) -> ParityReport:
        """The report on one side of the worker's event."""
        rows = tuple(ParityRow.from_json(row) for row in side["rows"])
        return cls(dtype, side["compute_dtype"], side["device"], rows, side["seconds"])

    @property
    def agreement(self) -> Agreement:
        """How nearly both say the same."""
        return Agreement.of(self.rows)

    def effect(self) -> dict[str, Any]:
        """The figures for a model that may differ, such as a quantised one: stated, not judged."""
        return {
            **self.agreement.to_json(),
            "mean_abs_logit_difference": max((row.mean_abs_logit_difference for row in self.rows), default=0.0),
            "compute_dtype": self.compute_dtype,
            "device": self.device,
            "seconds": self.seconds,
            "rows": [asdict(row) for row in self.rows],
        }

    @property
    def tolerance(self) -> Tolerance:
        """What is tolerated for the exported type."""
        return TOLERANCES[self.dtype]

    def problems(self) -> list[str]:
        """Every way in which the exported model is not what was trained; empty when it is."""
        return [problem for row in self.rows for problem in _row_problems(row, self.tolerance)]

    def summary(self) -> str:
        """One line: what was compared, and how it came out."""
        worst = max((row.mean_abs_logit_difference for row in self.rows), default=0.0)
        return (
            f"{self.agreement.same_answers} of {len(self.rows)} greedy answers are the same token for token; "
            f"logits differ by {worst:.2g} on average (tolerated for {self.dtype}: {self.tolerance.mean_logit:g}); "
            f"base + adapter against the exported weights, both computed in {self.compute_dtype} on {self.device}"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in ``export.json``."""
        return {
            "passed": not self.problems(),
            "compared": "base + adapter (not merged) against the exported weights: greedy answers, one at a time, and "
            "logits along the reference's answers",
            "dtype": self.dtype,
            "compute_dtype": self.compute_dtype,
            "device": self.device,
            "tolerance": asdict(self.tolerance),
            **self.agreement.to_json(),
            "seconds": self.seconds,
            "rows": [asdict(row) for row in self.rows],
        }


def _row_problems(row: ParityRow, tolerance: Tolerance) -> list[str]:
    question = row.question if len(row.question) <= _SHOWN_CHARACTERS else row.question[:_SHOWN_CHARACTERS] + "…"
    problems = []
    if not row.same_prompt:
        problems.append(f"'{question}': the exported tokenizer or template gives another prompt")
    difference = row.first_difference
    if difference is not None and difference.reference_margin > tolerance.tie:
        problems.append(
            f"'{question}': the answers part at token {difference.position + 1}: {difference.reference_token!r} "
            f"before, {difference.exported_token!r} exported (a margin of {difference.reference_margin:.3g} logits, "
            f"{tolerance.tie:g} tolerated)"
        )
    if not row.mean_abs_logit_difference <= tolerance.mean_logit:  # also true of NaN
        problems.append(
            f"'{question}': logits differ by {row.mean_abs_logit_difference:.3g} on average, "
            f"{tolerance.mean_logit:g} tolerated"
        )
    return problems


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """What base + adapter answered to one question, greedily.

    Attributes:
        question: what was asked.
        answer: the text.
        prompt_ids: the prompt's tokens through the training's template.
        answer_ids: the answer's tokens, without the stop token.
        text_ends: how many characters of the answer each completes.
        logprobs: the log-probability of each.
        gaps: for each position, the one after the last included, the likeliest tokens as (id, logits behind the first).
        stopped: whether the answer ended by itself.
    """

    question: str
    answer: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    text_ends: tuple[int, ...]
    logprobs: tuple[float, ...]
    gaps: tuple[Mapping[int, float], ...]
    stopped: bool

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ReferenceAnswer:
        """An answer as the worker's event has it."""
        lists = {name: tuple(value[name]) for name in ("prompt_ids", "answer_ids", "text_ends", "logprobs")}
        gaps = tuple({int(token): gap for token, gap in position} for position in value["gaps"])
        return cls(**{**value, **lists, "gaps": gaps})


@dataclass(frozen=True, slots=True)
class Side:
    """A model to compare with the reference.

    Attributes:
        arguments: the engine's keys that load it.
        adapter: an adapter to attach.
        quantized: whether it computes in types other than the reference's.
    """

    arguments: Mapping[str, Any]
    adapter: str | None = None
    quantized: bool = False

    def to_json(self) -> contract.Side:
        """As the worker takes it."""
        return {"arguments": self.arguments, "adapter": self.adapter, "quantized": self.quantized}


@dataclass(frozen=True, slots=True)
class ParityComparison:
    """The reference's answers and the reports on all models that were held to it.

    Attributes:
        reference: the reference's answers.
        reports: a report for each side.
        seconds: how long it took, without the wait for what was to be compared.
        timing: for the reference and each side, the seconds of loading and of answering.
    """

    reference: tuple[ReferenceAnswer, ...]
    reports: Mapping[str, ParityReport]
    seconds: float
    timing: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def exported_side(target: Target, folder: str, *, quantized: bool = False) -> Side:
    """An exported folder, loaded with the options of the training."""
    arguments = target.engine_arguments(quantized=False, adapters=()) | {"model_name_or_path": folder}
    return Side(arguments, quantized=quantized)


def trained_side(target: Target) -> Side:
    """The adapter on the base as it was while training, quantised where it was."""
    return Side(target.engine_arguments(), str(target.adapter) if target.adapter else None, bool(target.quantization))


class ComparisonJob:
    """The engine at work on a comparison: base + adapter answer as soon as it begins. Use it as a context."""

    def __init__(
        self,
        engine: Engine,
        target: Target,
        dtype: str,
        *,
        questions: Sequence[str] = DEFAULT_QUESTIONS,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        devices: str | None = None,
    ) -> None:
        """Start it.

        Args:
            engine: the engine.
            target: what is the reference: its adapter on its unquantised base.
            dtype: the exported type.
            questions: what all are asked.
            max_new_tokens: the longest answer.
            devices: the GPUs to use, as ``CUDA_VISIBLE_DEVICES`` has them; empty for the CPU, None for all there are.

        Raises:
            PreflightError: the engine's Python can't be started.
        """
        environment = engine_environment(model_is_local=target.model_is_local)
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        reference = Side(target.engine_arguments(quantized=False), str(target.adapter) if target.adapter else None)
        self._worker = WorkerProcess(engine.python, "parity", environment=environment)
        self._dtype = dtype
        self._job: contract.ParityJob = {
            "reference": reference.to_json(),
            "questions": list(questions),
            "max_new_tokens": max_new_tokens,
            "dtype": dtype,
        }

    def __enter__(self) -> Self:
        """Let the reference be asked."""
        self._worker.begin(self._job)
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self._worker.close()

    def compare(self, sides: Mapping[str, Side]) -> ParityComparison:
        """Hold models against the reference. Raises EngineError: one of them can't be loaded or can't answer."""
        self._worker.send({"sides": {name: side.to_json() for name, side in sides.items()}})
        found = self._worker.receive()
        return ParityComparison(
            tuple(ReferenceAnswer.from_json(answer) for answer in found["reference"]),
            {name: ParityReport.from_side(self._dtype, side) for name, side in found["sides"].items()},
            found["seconds"],
            found.get("timing", {}),
        )


def compare_sides(
    engine: Engine,
    target: Target,
    sides: Mapping[str, Side],
    dtype: str,
    *,
    questions: Sequence[str] = DEFAULT_QUESTIONS,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
) -> ParityComparison:
    """Hold models against a target's adapter on its unquantised base; ``dtype`` is the exported type.

    Raises:
        EngineError: one of them can't be loaded or can't answer.
    """
    with ComparisonJob(engine, target, dtype, questions=questions, max_new_tokens=max_new_tokens) as job:
        return job.compare(sides)


def measure_parity(
    engine: Engine,
    target: Target,
    exported: str,
    dtype: str,
    *,
    questions: Sequence[str] = DEFAULT_QUESTIONS,
    max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
) -> ParityReport:
    """Compare a target with the folder it was exported to. Raises as `compare_sides`."""
    sides = {"merged": exported_side(target, exported)}
    comparison = compare_sides(engine, target, sides, dtype, questions=questions, max_new_tokens=max_new_tokens)
    return comparison.reports["merged"]


def require_parity(report: ParityReport) -> None:
    """Raise EngineError with every problem when the exported model is not what was trained."""
    problems = report.problems()
    if problems:
        raise EngineError(
            "The exported model does not answer as the adapter on its base: " + "; ".join(problems),
            hint="Nothing was left under the final name. --no-parity exports it unchecked; please report this.",
        )
