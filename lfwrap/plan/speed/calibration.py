"""Measurements of earlier runs on this machine, and how they correct an estimate.

A measurement belongs to one kind of GPU and one set of versions. Memory outside the allocator and the pace depend on
the machine: they correct every plan there. The peak depends on model and settings: it corrects plans of the same kind.
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
# A run that deviates by more than this part is not used: something else is wrong there.
_MOST = 0.5


@dataclass(frozen=True, slots=True)
class Measurement:
    """Memory and time of one run, measured and predicted.

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
        """Measured peak ÷ predicted peak."""
        return self.peak_allocated_bytes / self.predicted_peak_bytes

    @property
    def pace_ratio(self) -> float | None:
        """Measured ÷ predicted seconds of an update; None where one of them is unknown."""
        if not self.update_s or not self.predicted_update_s:
            return None
        return self.update_s / self.predicted_update_s

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def model_key(model: ModelFacts) -> str:
    """A model's shapes as one text, whatever its name.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> model_key(sample_model())
        'qwen2 28x3584x18944 v152064'
    """
    return f"{model.architecture} {model.num_layers}x{model.hidden_size}x{model.intermediate_size} v{model.vocab_size}"


def kind_key(settings: TrainSettings) -> str:
    """The settings that decide which terms an estimate has, as one text; sizes are not in it.

    Example:
        >>> kind_key(TrainSettings("lora", 4, 1024, rank=8, liger=True))
        'lora q0 mixed liger checkpointed'
    """
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
    """The estimate of memory, corrected by measurements on this machine.

    Args:
        memory: the estimate.
        measured: measurements of this kind of GPU with these versions.
        model: the model's shapes.
        settings: the settings.

    Example:
        A run of another model corrects only what lies outside the allocator.

        >>> from lfwrap.plan.memory.peak import estimate_memory
        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 4, 1024, rank=8)
        >>> run = Measurement("H100", "", "another model", "", 10**10, 10**10, 10**10, 999_000_000, None, None, "run-1")
        >>> estimate = estimate_memory(sample_model(), settings)
        >>> corrected = correct_memory(estimate, [run], sample_model(), settings)
        >>> [term.bytes for term in corrected.terms if term.name == CONTEXT_TERM]
        [999000000]
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
    return replace(term, bytes=largest.outside_bytes, formula=f"as measured in run {largest.run}", source=_SOURCE)


def _measured_slack(term: MemoryTerm, same: Measurement) -> MemoryTerm:
    """The slack, at least as large as what the allocator of that run held beyond its peak."""
    slack = same.peak_reserved_bytes - same.peak_allocated_bytes
    if term.name != SLACK_TERM or slack <= term.bytes:
        return term
    return replace(term, bytes=slack, formula=f"as measured in run {same.run}", source=_SOURCE)


def _difference_term(memory: MemoryEstimate, same: Measurement) -> MemoryTerm:
    extra = int(memory.peak_allocated_bytes * (same.peak_ratio - 1))
    formula = f"peak × {same.peak_ratio - 1:+.2%}, as measured in run {same.run}"
    return MemoryTerm("measured difference", extra, formula, _SOURCE, "the same model and kernels on this machine")


def correct_speed(
    speed: SpeedEstimate | None, measured: Sequence[Measurement], model: ModelFacts, settings: TrainSettings
) -> SpeedEstimate | None:
    """The estimate of speed, corrected by runs of the same model and kernels; else by the median of all runs.

    Args:
        speed: the estimate; None where the machine's rates are unknown.
        measured: measurements of this kind of GPU with these versions.
        model: the model's shapes.
        settings: the settings.

    Example:
        A run took twice as long as predicted.

        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 4, 1024, rank=8)
        >>> run = Measurement("H100", "", "another model", "", 10**10, 10**10, 10**10, 10**9, 1.0, 2.0, "run-1")
        >>> speed = SpeedEstimate(0.5, 4.0, 8192.0, 8192.0, "fitted")
        >>> correct_speed(speed, [run], sample_model(), settings).tokens_per_s
        4096.0
    """
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
        basis=f"{speed.basis}; × {1 / ratio:.2f} as measured in {len(known)} of your own runs",
    )
