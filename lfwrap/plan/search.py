"""The search for candidates: the ways to run one training on one machine, and the best of them."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lfwrap.engine.keys import (
    ACCUMULATION_KEY,
    COMPILE_KEY,
    CUTOFF_KEY,
    DEFAULT_EVAL_BATCH,
    EVAL_BATCH_KEY,
    LIGER_KEY,
    LOADERS_KEY,
    MICRO_KEY,
    NO_CHECKPOINTING_KEY,
    OFFLOADED_CHECKPOINTS_KEY,
    PACKING_KEYS,
    SAMPLING_KEY,
)
from lfwrap.hardware.profile import DeviceKind
from lfwrap.plan.candidate import Candidate, device_limit_bytes, evaluate, paced_gpu
from lfwrap.plan.compiling import REASON, gains_by_compiling, may_compile
from lfwrap.plan.inputs.batch import BatchPlan, solve_batch
from lfwrap.plan.packing import pack_capacities, packs_per_update, request_packs
from lfwrap.plan.request import STAGE_KEY, PlanRequest, Setting

_LARGEST_MICRO_BATCH = 64
_SHARED = {
    2: "gradients and optimizer states are shared between the GPUs (ZeRO-2).",
    3: "weights are shared between the GPUs, too (ZeRO-3), which costs much of the speed.",
}
_COMPILED_TRIES = 6
_LOADERS = 2
_CORES_FOR_LOADERS = 4
# A setting is changed only where it is worth this part of the speed.
_WORTHWHILE = 0.02


def recipe_candidate(request: PlanRequest) -> Candidate:
    """The candidate that changes nothing: the recipe as it stands.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> recipe_candidate(sample_request()).changes
        {}
    """
    return evaluate(request, {}, request.batch)


def find_candidates(request: PlanRequest) -> list[Candidate]:
    """All candidates that the request leaves open, whether they fit or not.

    Settings that cost speed are tried only where nothing fits without them.

    Example:
        However they split an update, it has the 16 rows that were asked for.

        >>> from lfwrap.plan.sample import sample_request
        >>> candidates = find_candidates(sample_request())
        >>> {candidate.batch.effective for candidate in candidates}
        {16}
        >>> sorted({candidate.batch.micro_batch for candidate in candidates})
        [1, 2, 4, 8, 16]
    """
    common = {**_loading_setting(request), **_evaluation_setting(request)}
    found = list(_uncompiled(request, common))
    for resort in _last_resorts(request):
        if any(candidate.fits for candidate in found):
            break
        found += _uncompiled(request, {**common, **resort})
    return [*found, *_compiled(request, found)]


def _last_resorts(request: PlanRequest) -> Iterator[dict[str, Setting]]:
    """Settings for where nothing fits: layer inputs in main memory, with the same results; then ZeRO stages."""
    is_open = request.is_open(NO_CHECKPOINTING_KEY, OFFLOADED_CHECKPOINTS_KEY) and request.zero_stage is None
    if request.is_free and is_open and request.hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}:
        reason = "Does not fit otherwise: kept layer inputs wait in main memory (the engine's own code, no Unsloth)."
        yield {OFFLOADED_CHECKPOINTS_KEY: Setting(True, reason)}
    for stage in request.open_stages:
        yield {STAGE_KEY: Setting(stage, "Does not fit otherwise: " + _SHARED[stage])}


def _uncompiled(request: PlanRequest, common: Mapping[str, Setting]) -> Iterator[Candidate]:
    """All combinations of alternatives, each with growing micro-batches until one does not fit."""
    for alternatives in itertools.product(*_alternatives(request)):
        changes = {**common, **{key: value for setting in alternatives for key, value in setting.items()}}
        if {OFFLOADED_CHECKPOINTS_KEY, NO_CHECKPOINTING_KEY} <= changes.keys():
            continue
        for batch in _batches(request, changes):
            candidate = evaluate(request, changes, batch)
            yield candidate
            if not candidate.fits:
                break  # a larger micro-batch needs no less memory


def _compiled(request: PlanRequest, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """The fastest candidates again, with compiled layers."""
    if not may_compile(request, recipe_candidate(request).settings):
        return
    alike = [each for each in candidates if gains_by_compiling(request, each)]
    for each in heapq.nlargest(_COMPILED_TRIES, alike, key=_rank):
        yield evaluate(request, {**each.changes, COMPILE_KEY: Setting(True, REASON)}, each.batch)


def best_candidate(candidates: Iterable[Candidate]) -> Candidate | None:
    """The fastest candidate that fits; None where none does. Each change must be worth 2% of speed.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> best = best_candidate(find_candidates(sample_request()))
        >>> best.fits, "enable_liger_kernel" in best.changes
        (True, True)
    """
    return max((each for each in candidates if each.fits), key=_rank, default=None)


def rank_candidates(candidates: Iterable[Candidate], count: int, alike: int = 2) -> list[Candidate]:
    """The candidates that fit, the fastest first.

    Args:
        candidates: what `find_candidates` returned.
        count: the largest number of candidates.
        alike: the largest number of candidates that differ only in micro-batch and length of packs.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> candidates = find_candidates(sample_request())
        >>> rank_candidates(candidates, 3)[0] == best_candidate(candidates)
        True
    """
    found: list[Candidate] = []
    seen: Counter[frozenset[str]] = Counter()
    for candidate in sorted((each for each in candidates if each.fits), key=_rank, reverse=True):
        kind = frozenset(candidate.changes) - {CUTOFF_KEY}
        seen[kind] += 1
        if seen[kind] <= alike and len(found) < count:
            found.append(candidate)
    return found


def _rank(candidate: Candidate) -> tuple[float, float]:
    """Tokens a second, less 2% for each change and the time of compiling; among equals, the one with less memory."""
    cost = 1 - _WORTHWHILE * len(candidate.changes.keys() - {PACKING_KEYS[1], CUTOFF_KEY, EVAL_BATCH_KEY, LOADERS_KEY})
    if candidate.speed is None:  # the machine's rates are unknown: as little as possible is changed
        return cost, float(candidate.settings.micro_batch)
    if candidate.compile_s and candidate.duration_s:
        cost *= 1 - candidate.compile_s / candidate.duration_s
    return candidate.speed.tokens_per_s * cost, -float(candidate.memory.device_bytes)


def _alternatives(request: PlanRequest) -> list[list[dict[str, Setting]]]:
    """For each thing that may change, its alternatives; the first one leaves it as it is."""
    as_it_is: dict[str, Setting] = {}
    if request.speed == "none" or request.effective_batch is None:
        return [[as_it_is]]
    matters = []
    on_gpu = request.hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}
    if request.is_free and on_gpu and request.is_open(LIGER_KEY):
        reason = "Liger's fused loss and kernels: the same arithmetic without all logits at once."
        matters.append([as_it_is, {LIGER_KEY: Setting(True, reason)}])
    if on_gpu and request.is_open(NO_CHECKPOINTING_KEY):
        reason = "Activations fit: nothing has to be computed twice."
        matters.append([as_it_is, {NO_CHECKPOINTING_KEY: Setting(True, reason)}])
    matters.append([as_it_is, *_length_settings(request)])
    return matters


def _loading_setting(request: PlanRequest) -> dict[str, Setting]:
    """Processes that prepare micro-batches in advance, where each GPU has cores to spare: it need not wait."""
    on_gpu = request.hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}
    cores = request.hardware.cpu_cores // request.world_size
    if request.speed == "none" or request.effective_batch is None or not on_gpu or cores < _CORES_FOR_LOADERS:
        return {}
    reason = (
        "Micro-batches (and packs' masks) are prepared in advance, while the GPU works; the same in the same order."
    )
    return {LOADERS_KEY: Setting(_LOADERS, reason)} if request.is_open(LOADERS_KEY) else {}


def _evaluation_setting(request: PlanRequest) -> dict[str, Setting]:
    """Fewer rows at a time in evaluation, where the engine's 8 would not fit beside weights and states."""
    if request.speed == "none" or request.effective_batch is None or not request.is_open(EVAL_BATCH_KEY):
        return {}
    smallest = BatchPlan(1, request.effective_batch, request.world_size)
    for size in (DEFAULT_EVAL_BATCH, 4, 2, 1):
        reason = "Evaluation computes all logits at once, even with Liger: this many rows fit."
        setting: dict[str, Setting] = {} if size == DEFAULT_EVAL_BATCH else {EVAL_BATCH_KEY: Setting(size, reason)}
        memory = evaluate(request, setting, smallest).memory
        outside = memory.device_bytes - memory.peak_allocated_bytes
        if memory.phases.get("evaluation", 0) + outside <= device_limit_bytes(request.hardware) or size == 1:
            return setting
    return {}


def _length_settings(request: PlanRequest) -> Iterator[dict[str, Setting]]:
    """Packing, or grouping by length: they change which rows an update has, and need the rows' lengths."""
    if not request.is_free or request.rows.mean_tokens is None:
        return
    if request.rows.is_exact and request.is_open(*PACKING_KEYS):
        yield from _packing_settings(request)
    if request.is_open(SAMPLING_KEY):
        yield {SAMPLING_KEY: Setting("group_by_length", "Rows of similar length share a batch: less padding.")}


def _packing_settings(request: PlanRequest) -> Iterator[dict[str, Setting]]:
    """Packs as long as the cutoff, and shorter ones that hold every row, where nothing else depends on the cutoff."""
    for capacity in pack_capacities(request):
        packs = request_packs(request, capacity)
        if packs is None:
            continue
        reason = f"About {packs.rows_per_pack:.3g} rows share a sequence, kept apart by a mask: hardly any padding."
        setting: dict[str, Setting] = dict.fromkeys(PACKING_KEYS, Setting(True, reason))
        if capacity != request.cutoff:
            why = f"No row has more than {request.rows.longest_tokens:,} tokens: shorter packs hold them all."
            setting[CUTOFF_KEY] = Setting(capacity, why)
        yield setting


def _micro_limit(request: PlanRequest) -> int:
    """The largest micro-batch to try; where the machine's rates are unknown, the rendered recipe's."""
    limit = request.micro_limit or _LARGEST_MICRO_BATCH
    return limit if paced_gpu(request.hardware) else min(limit, request.batch.micro_batch)


def _batches(request: PlanRequest, changes: Mapping[str, Setting]) -> Iterator[BatchPlan]:
    """The batches to try: exact products of the effective batch, or of the number of packs that comes nearest to it."""
    if request.effective_batch is None or request.speed == "none" or ACCUMULATION_KEY in request.pinned:
        if PACKING_KEYS[0] not in changes:
            yield request.batch
        return
    effective: int | None = request.effective_batch
    if PACKING_KEYS[0] in changes:
        effective = packs_per_update(request, int(changes.get(CUTOFF_KEY, (request.cutoff, ""))[0]))
    if effective is None:
        return
    share = effective // request.world_size
    limit = min(_micro_limit(request), share)
    pinned = request.batch.micro_batch if MICRO_KEY in request.pinned and request.micro_limit is None else None
    for micro in [pinned] if pinned else range(1, limit + 1):
        if share % micro == 0:
            yield solve_batch(effective, request.world_size, micro)
