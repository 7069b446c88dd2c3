"""What runs on one's own machine measured, and what it changes in an estimate. Pure arithmetic.

A measurement belongs to one kind of GPU and one set of versions. What lies outside the allocator, and the pace, is the
machine's: it corrects every plan there. The peak is the model's and the settings': it corrects plans of the same kind.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.memory.estimate import CONTEXT_TERM, SLACK_TERM, MemoryEstimate, MemoryTerm
from lfwrap.plan.speed.throughput import SpeedEstimate

_SOURCE = "lfwrap plan --calibrate"
# Corrections beyond this are no correction: something else is wrong.
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run measured beside what was predicted of it.

    Attributes:
        device: the GPU's own name.
        versions: of what decides memory and pace, as one text.
        model: the model's shapes, as one text (`model_key`).
        kind: method, quantisation and kernels, as one text (`kind_key`).
        predicted_peak_bytes: peak allocated as estimated without any measurement.
        peak_allocated_bytes: as `torch.cuda.max_memory_allocated` counted it.
        peak_reserved_bytes: as `torch.cuda.max_memory_reserved` did.
        outside_bytes: what the driver had given out beyond the allocator's own: context, libraries, communication.
        predicted_update_s: seconds of an update as estimated; None where the GPU's rates are unknown.
        update_s: seconds of an update; None where too few were made.
        run: the run's name.
    """

    device: str
    versions: str
    model: str
    kind: str
    predicted_peak_bytes: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    outside_bytes: int
    predicted_update_s: float | None
    update_s: float | None
    run: str

    @property
    def peak_ratio(self) -> float:
        """Measured by predicted peak."""
        return self.peak_allocated_bytes / self.predicted_peak_bytes

    @property
    def pace_ratio(self) -> float | None:
        """Measured by predicted time of an update."""
        if not self.update_s or not self.predicted_update_s:
            return None
        return self.update_s / self.predicted_update_s

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def model_key(model: ModelFacts) -> str:
    """A model's shapes as one text, whatever it is called."""
    return f"{model.architecture} {model.num_layers}x{model.hidden_size}x{model.intermediate_size} v{model.vocab_size}"


def kind_key(settings: TrainSettings) -> str:
    """What decides which terms there are, as one text: sizes are not in it."""
    parts = (
        settings.method,
        f"q{settings.quantization_bit}",
        settings.precision,
        "liger" if settings.liger else "",
        "compiled" if settings.is_compiled else "",
        "checkpointed" if settings.checkpointing else "",
        "packed" if settings.packing else "",
        "extended" if settings.is_extended else "",
        "dropout" if settings.dropout else "",
        "" if settings.zero_stage is None else f"z{settings.zero_stage}",
    )
    return " ".join(str(part) for part in parts if part)


def correct_memory(
    memory: MemoryEstimate, measured: Sequence[Measurement], model: ModelFacts, settings: TrainSettings
) -> MemoryEstimate:
    """The estimate with what was measured on this machine put in.

    Args:
        memory: the estimate.
        measured: measurements of this kind of GPU with these versions.
        model: the model's shapes.
        settings: the settings.
    """
    if not measured:
        return memory
    terms = [_measured_outside(term, measured) for term in memory.terms]
    same = [each for each in measured if (each.model, each.kind) == (model_key(model), kind_key(settings))]
    if same and abs(same[-1].peak_ratio - 1) <= _MOST:
        terms = [_measured_slack(term, same[-1]) for term in terms]
        terms.append(_difference_term(memory, same[-1]))
    return replace(memory, terms=tuple(terms))


def _measured_outside(term: MemoryTerm, measured: Sequence[Measurement]) -> MemoryTerm:
    if term.name != CONTEXT_TERM:
        return term
    largest = max(measured, key=lambda each: each.outside_bytes)
    return replace(term, bytes=largest.outside_bytes, formula=f"as run {largest.run} had it", source=_SOURCE)


def _measured_slack(term: MemoryTerm, same: Measurement) -> MemoryTerm:
    """At least what the allocator held beyond the peak, in proportion to the peak."""
    slack = same.peak_reserved_bytes - same.peak_allocated_bytes
    if term.name != SLACK_TERM or slack <= term.bytes:
        return term
    return replace(term, bytes=slack, formula=f"as run {same.run} had it", source=_SOURCE)


def _difference_term(memory: MemoryEstimate, same: Measurement) -> MemoryTerm:
    extra = int(memory.peak_allocated_bytes * (same.peak_ratio - 1))
    formula = f"peak × {same.peak_ratio - 1:+.2%}, as run {same.run} had it"
    return MemoryTerm("measured difference", extra, formula, _SOURCE, "the same model and kernels on this machine")


def correct_speed(
    speed: SpeedEstimate | None, measured: Sequence[Measurement], model: ModelFacts, settings: TrainSettings
) -> SpeedEstimate | None:
    """The pace with what was measured on this machine put in: by the same model and kernels, else by all there is."""
    paces = [(each, each.pace_ratio) for each in measured]
    known = [(each, ratio) for each, ratio in paces if ratio is not None]
    if speed is None or not known:
        return speed
    wanted = (model_key(model), kind_key(settings))
    same = [ratio for each, ratio in known if (each.model, each.kind) == wanted]
    ratio = same[-1] if same else statistics.median(ratio for _, ratio in known)
    return SpeedEstimate(
        micro_step_s=speed.micro_step_s * ratio,
        step_s=speed.step_s * ratio,
        tokens_per_s=speed.tokens_per_s / ratio,
        padded_tokens_per_s=speed.padded_tokens_per_s / ratio,
        basis=f"{speed.basis}; × {1 / ratio:.2f} as {len(known)} of your own runs had it",
    )
