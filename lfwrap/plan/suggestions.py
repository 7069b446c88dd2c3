"""What would fit where nothing does: the same training with less asked for. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lfwrap.errors import PlanError
from lfwrap.hardware.profile import DeviceKind
from lfwrap.plan.candidate import MARGIN_SHARE, Candidate, device_limit_bytes
from lfwrap.plan.memory.persistent import GRADIENTS_SHARED, WEIGHTS_SHARED
from lfwrap.plan.request import LIGER_KEY, MICRO_KEY, NO_CHECKPOINTING_KEY, PlanRequest
from lfwrap.plan.search import best_candidate, find_candidates
from lfwrap.units import format_bytes

_SHORTEST_CUTOFF = 256
_MAX_SUGGESTIONS = 3


def nothing_fits(request: PlanRequest, ways: Sequence[Candidate]) -> PlanError:
    """The error that says what is missing, and what would fit."""
    smallest = min(ways, key=lambda candidate: candidate.memory.device_bytes)
    suggestions = [text for _, text in zip(range(_MAX_SUGGESTIONS), nearest_plans(request), strict=False)]
    memory = smallest.memory
    biggest = max(memory.terms, key=lambda term: term.bytes)
    return PlanError(
        f"{request.model.name} does not fit {request.hardware.name}: the smallest way needs"
        f" {format_bytes(memory.device_bytes)}, {format_bytes(device_limit_bytes(request.hardware))} may be used"
        f" (margin {MARGIN_SHARE:.0%}). The largest part: {biggest.name}, {format_bytes(biggest.bytes)}.",
        hint=f"Would fit: {'; '.join(suggestions)}." if suggestions else "Nothing near it fits: take a smaller model.",
    )


def nearest_plans(request: PlanRequest) -> Iterator[str]:
    """What would fit instead, the nearest first: the settings and the memory they need."""
    for text, relaxed in _relaxations(request):
        candidate = best_candidate(find_candidates(relaxed))
        if candidate is not None:
            yield f"{text} ({format_bytes(candidate.memory.device_bytes)}, micro-batch {candidate.batch.micro_batch})"


def _relaxations(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """The request with less asked for, one thing after the other."""
    free = replace(request, speed="auto", given=frozenset(), micro_limit=None)
    free = replace(free, effective_batch=request.effective_batch or request.batch.effective)
    plain = replace(free, values={**request.values, LIGER_KEY: None, NO_CHECKPOINTING_KEY: None, MICRO_KEY: None})
    yield "lfwrap.speed=auto with micro-batch and kernels left open", plain
    yield from _shared(plain)
    can_quantize = request.hardware.supports_quantization and request.zero_stage != WEIGHTS_SHARED
    is_adapter = request.values.get("finetuning_type", "lora") == "lora"
    small = plain
    if is_adapter and can_quantize and not request.values.get("quantization_bit"):
        small = replace(plain, values={**plain.values, "quantization_bit": 4})
        yield "quantization_bit=4", small
    if not is_adapter:
        yield "finetuning_type=lora", replace(plain, values={**plain.values, "finetuning_type": "lora"})
    prefix = "quantization_bit=4 " if small is not plain else ""
    yield from _shorter(small, prefix)
    yield from _more_gpus(plain)


def _shared(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """More shared between the GPUs that there are, and the rest of it in main memory."""
    if request.world_size == 1 or request.hardware.kind not in {DeviceKind.CUDA, DeviceKind.ROCM}:
        return
    stages = [GRADIENTS_SHARED] if request.values.get("quantization_bit") else [GRADIENTS_SHARED, WEIGHTS_SHARED]
    for stage in stages:
        if stage > (request.zero_stage or 0):
            yield f"lfwrap.zero_stage={stage}", replace(request, zero_stage=stage)
    if not request.offload:
        offloaded = replace(request, zero_stage=stages[-1], offload=True)
        yield f"lfwrap.zero_stage={stages[-1]} lfwrap.offload=true", offloaded


def _shorter(request: PlanRequest, prefix: str) -> Iterator[tuple[str, PlanRequest]]:
    cutoff = request.rows.longest_tokens // 2
    while cutoff >= _SHORTEST_CUTOFF:
        rows = request.rows.cut(cutoff)
        yield (
            f"{prefix}cutoff_len={cutoff}",
            replace(request, rows=rows, values={**request.values, "cutoff_len": cutoff}),
        )
        cutoff //= 2


def _more_gpus(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    effective = request.effective_batch or request.batch.effective
    if request.hardware.kind not in {DeviceKind.CUDA, DeviceKind.ROCM} or request.values.get("quantization_bit"):
        return
    for count in (2, 4, 8):
        if count > request.world_size and effective % count == 0:
            yield (
                f"{count} such GPUs with lfwrap.zero_stage=3",
                replace(request, world_size=count, zero_stage=WEIGHTS_SHARED),
            )
