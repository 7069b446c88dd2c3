"""The peak memory of one GPU, term by term: what is persistent, and what comes on top in the widest phase of a step.

Terms are counted from what the code allocates; the few constants that can't be derived are fitted on the calibration
half of benchmarks/memory, and say so.
"""

from __future__ import annotations

from dataclasses import replace

from lfwrap.hardware.profile import DeviceKind
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings
from lfwrap.plan.memory.estimate import (
    CONTEXT_TERM,
    MEASURED_ON_TWO,
    NOT_MEASURED,
    SLACK_TERM,
    MemoryEstimate,
    MemoryTerm,
)
from lfwrap.plan.memory.persistent import persistent_terms
from lfwrap.plan.memory.transient import transient_terms

# Fitted on the calibration half (benchmarks/memory/check.py prints how well they hold).
_CONTEXT_BYTES = 870_000_000
_SLACK_SHARE = 0.08
_LEAST_SLACK_BYTES, _MOST_SLACK_BYTES = 600_000_000, 4_000_000_000
# Measured on two H200s: what the driver gave out besides the context, and by how much the allocator held more under
# each ZeRO stage.
_NCCL_BYTES, _DEEPSPEED_BYTES = 850_000_000, 500_000_000
_ZERO_SLACK_BYTES = {2: 1_000_000_000, 3: 2_000_000_000}


def estimate_memory(model: ModelFacts, settings: TrainSettings, kind: DeviceKind = DeviceKind.CUDA) -> MemoryEstimate:
    """Estimate the memory that one GPU needs in the widest phase of a step.

    Args:
        model: the model's shapes.
        settings: the settings, with the length of the longest rows.
        kind: the device; on a CPU and on Apple's GPUs there is no CUDA context.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> estimate = estimate_memory(sample_model(), TrainSettings("lora", 4, 1024, rank=8))
        >>> estimate.phase, estimate.phases[estimate.phase] == estimate.peak_allocated_bytes
        ('loss backward', True)
    """
    persistent = persistent_terms(model, settings)
    phases = transient_terms(model, settings)
    sizes = {name: sum(term.bytes for term in terms) for name, terms in phases.items()}
    widest = max(sizes, key=lambda name: sizes[name])
    terms = [term for term in (*persistent, *phases[widest]) if term.bytes]
    is_recast_by_bits = settings.is_recast and settings.quantization_bit
    if kind is not DeviceKind.CUDA or settings.precision is Precision.FULL or is_recast_by_bits:
        terms = [replace(term, holds=NOT_MEASURED) for term in terms]
    peak = sum(term.bytes for term in terms)
    base = sum(term.bytes for term in persistent)
    outside = _outside_terms(model, settings, kind, peak)
    return MemoryEstimate((*terms, *outside), widest, {name: base + size for name, size in sizes.items()})


def _outside_terms(model: ModelFacts, settings: TrainSettings, kind: DeviceKind, peak_bytes: int) -> list[MemoryTerm]:
    """What the device must hold besides live tensors: the allocator's slack, the CUDA context, NCCL's buffers."""
    if kind in {DeviceKind.CPU, DeviceKind.MPS}:
        slack = MemoryTerm(
            "slack",
            int(peak_bytes * _SLACK_SHARE),
            f"{_SLACK_SHARE:.0%} of the peak",
            "assumed",
            NOT_MEASURED,
            in_peak=False,
        )
        return [slack]
    logits = 0 if settings.liger else 2 * settings.tokens * model.vocab_size
    gathered = _ZERO_SLACK_BYTES.get(settings.zero_stage or 0, 0)
    slack_bytes = logits + gathered + min(_MOST_SLACK_BYTES, max(_LEAST_SLACK_BYTES, int(_SLACK_SHARE * peak_bytes)))
    terms = [
        MemoryTerm(
            SLACK_TERM,
            slack_bytes,
            "8% of the peak, 0.6 to 4 GB, and 2 bytes a logit without Liger",
            "fitted: no calibration case held more",
            "rows of one length; of different lengths, the allocator keeps more until it is short, then gives it back",
            in_peak=False,
        ),
        MemoryTerm(CONTEXT_TERM, _CONTEXT_BYTES, "kernels and libraries", "fitted", in_peak=False),
    ]
    if settings.world_size > 1:
        size = _NCCL_BYTES + (0 if settings.zero_stage is None else _DEEPSPEED_BYTES)
        terms.append(MemoryTerm("NCCL", size, "buffers of its channels", "fitted", MEASURED_ON_TWO, in_peak=False))
    return terms
