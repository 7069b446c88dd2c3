"""A plan in words: notes about it, why others were rejected, and what would fit where nothing does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.engine.keys import (
    COMPILE_KEY,
    CUTOFF_KEY,
    DEFAULT_METHOD,
    LIGER_KEY,
    METHOD_KEY,
    MICRO_KEY,
    NO_CHECKPOINTING_KEY,
    OFFLOADED_CHECKPOINTS_KEY,
    SAMPLING_KEY,
)
from lfwrap.errors import PlanError
from lfwrap.hardware.profile import DeviceKind
from lfwrap.plan.candidate import MARGIN_SHARE, Candidate, device_limit_bytes
from lfwrap.plan.compiling import compiling_notes
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings
from lfwrap.plan.memory.persistent import GRADIENTS_SHARED, WEIGHTS_SHARED, weights_bytes
from lfwrap.plan.request import STAGE_KEY, PlanRequest
from lfwrap.plan.search import best_candidate, find_candidates
from lfwrap.units import format_bytes, format_duration

_HALF = 2  # bytes of a number in 16 bit
_SHORTEST_CUTOFF = 256
_MAX_SUGGESTIONS = 3


def plan_notes(request: PlanRequest, candidate: Candidate) -> Iterator[str]:
    """The notes of a plan, in sentences: what its rows, packs and settings mean, and what is not known.

    Example:
        >>> from lfwrap.plan.candidate import evaluate
        >>> from lfwrap.plan.sample import sample_request
        >>> request = sample_request()
        >>> list(plan_notes(request, evaluate(request, {}, request.batch)))
        ['Rows have 200 tokens on average; planned for 1,024.']
    """
    settings = candidate.settings
    if settings.packing:
        yield _packing_note(request, candidate)
    yield from _type_notes(request, settings)
    if SAMPLING_KEY in candidate.changes:
        yield "Rows are grouped by length: an update has other rows than with a random order."
    yield from compiling_notes(request, candidate)
    if LIGER_KEY in candidate.changes:
        yield "Needs the liger-kernel package: `pip install 'lfwrap[speed]'`."
    yield _rows_note(request)
    if request.values.get("use_unsloth"):
        yield "Unsloth's kernels are not modelled: they need less memory, and are faster, than said here."
        if settings.dropout:
            yield "lora_dropout above 0 turns Unsloth's fast kernels off."
    if settings.world_size > 1:
        yield (
            "More than one GPU: two H200s of one host were measured; more GPUs, and slower links, are estimated from"
            " them."
        )
    if request.measured:
        runs = ", ".join(each.run for each in request.measured[-3:])
        yield f"Corrected by what was measured on this kind of GPU with these versions: {runs}."
    if candidate.speed is None:
        yield "This machine's rates are unknown: there is no estimate of time, and as little as possible is changed."


def _type_notes(request: PlanRequest, settings: TrainSettings) -> Iterator[str]:
    """What it costs that the checkpoint has another type than the products, and what to do about it."""
    stored = request.model.dtype
    copy = f"`lfwrap export {request.model.name} --out DIR`"
    if request.values.get("pure_bf16") and settings.precision is Precision.FULL:
        yield f"pure_bf16 casts nothing: a {stored} checkpoint is trained in {stored}. {copy} writes a copy in bf16."
    elif settings.is_lora and settings.is_recast and settings.checkpoint_bytes > _HALF:
        size = format_bytes(weights_bytes(request.model, settings))
        halved = weights_bytes(request.model, replace(settings, checkpoint_bytes=_HALF, is_recast=False))
        yield (
            f"The checkpoint is in {stored}, and the engine keeps its frozen weights in that type: {size}, where 16"
            f" bit takes {format_bytes(halved)}, and activations between layers are fp32, too."
            f" {copy} writes a copy in bf16 to train on."
        )
    elif settings.is_lora and settings.is_recast:
        into = "fp16" if request.values.get("fp16") else "bf16"
        yield (
            f"The checkpoint is in {stored} and products are in {into}: activations between layers become fp32."
            f" {copy[:-1]} --dtype {into}` writes a copy in one type."
        )


def _packing_note(request: PlanRequest, candidate: Candidate) -> str:
    """How many rows an update of packs has, and by how much that differs from the recipe's number."""
    said = f"An update sees {candidate.batch.effective} packs of {candidate.settings.seq_len_tokens:,} tokens"
    if candidate.packs is None or candidate.rows_per_update is None:
        return f"{said}; how many rows that is depends on their length: give --mean-row."
    rows = f"{candidate.rows_per_update:.1f} rows on average ({candidate.packs.rows_per_pack:.3g} a pack,"
    rows += f" {candidate.packs.filled:.0%} of it filled)"
    if "packing" not in candidate.changes or not request.effective_batch:
        return f"{said}: {rows}."
    off = candidate.rows_per_update / request.effective_batch - 1
    return f"{said}: {rows}, {off:+.1%} from the {request.effective_batch} of the recipe."


def _rows_note(request: PlanRequest) -> str:
    """What is known of the rows' lengths, as a sentence."""
    rows = request.rows
    if rows.mean_tokens is None:
        return (
            "Row lengths are not known: memory is planned as if every row had the longest length, time as if their"
            " mean were a quarter of it, and nothing is packed. `lfwrap data stats` counts them; give --mean-row,"
            " --longest-row and --rows."
        )
    how = f" ({rows.basis})" if rows.basis else ""
    said = f"Rows have {rows.mean_tokens:,.0f} tokens on average; planned for {rows.longest_tokens:,}{how}."
    if rows.is_exact or not request.is_free:
        return said
    return f"{said} Rows are packed only where their tokens can be counted: name the model's folder."


@dataclass(frozen=True, slots=True)
class Rejected:
    """A combination of settings that a plan did not choose.

    Attributes:
        settings: the settings, in words.
        why: the memory or the speed that speaks against it, in figures.
    """

    settings: str
    why: str


def rejected_candidates(candidates: Sequence[Candidate], best: Candidate) -> Iterator[Rejected]:
    """The best candidate of each other combination of settings, and why it was not chosen.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> candidates = find_candidates(sample_request())
        >>> rejected = rejected_candidates(candidates, best_candidate(candidates))
        >>> [each.settings for each in rejected][:2]
        ['as it is, micro-batch 8', 'grouped by length, micro-batch 16']
    """
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(tuple(sorted(candidate.changes)), []).append(candidate)
    for key, members in groups.items():
        if key != tuple(sorted(best.changes)):
            yield _reject(members, best)
    larger = [candidate for candidate in groups[tuple(sorted(best.changes))] if not candidate.fits]
    if larger:
        first = min(larger, key=lambda candidate: candidate.batch.micro_batch)
        yield Rejected(f"{describe(first.changes)}, micro-batch {first.batch.micro_batch}", _too_large(first))


def _reject(members: Sequence[Candidate], best: Candidate) -> Rejected:
    fitting = [candidate for candidate in members if candidate.fits]
    if not fitting:
        smallest = min(members, key=lambda candidate: candidate.memory.device_bytes)
        return Rejected(f"{describe(smallest.changes)}, micro-batch {smallest.batch.micro_batch}", _too_large(smallest))
    fastest = max(fitting, key=lambda candidate: candidate.speed.tokens_per_s if candidate.speed else 0.0)
    if fastest.speed is None or best.speed is None:
        why = "fits, no faster"
    else:
        why = f"{fastest.speed.tokens_per_s:,.0f} tokens/s against {best.speed.tokens_per_s:,.0f}"
        if fastest.duration_s and best.duration_s and fastest.compile_s > best.compile_s:
            whole, beside = format_duration(fastest.duration_s), format_duration(best.duration_s)
            why += f"; compiling included, {whole} against {beside}"
    return Rejected(f"{describe(fastest.changes)}, micro-batch {fastest.batch.micro_batch}", why)


def _too_large(candidate: Candidate) -> str:
    return f"needs {format_bytes(candidate.memory.device_bytes)} of {format_bytes(candidate.limit_bytes)}"


def describe(changes: Mapping[str, Any]) -> str:
    """The changed settings in words.

    Example:
        >>> describe({"enable_liger_kernel": (True, ""), "packing": (True, ""), "cutoff_len": (2048, "")})
        'Liger, packs of 2048'
    """
    words: dict[str, str] = {
        LIGER_KEY: "Liger",
        NO_CHECKPOINTING_KEY: "no checkpointing",
        OFFLOADED_CHECKPOINTS_KEY: "checkpoints in main memory",
        STAGE_KEY: "ZeRO",
        "packing": "packing",
        SAMPLING_KEY: "grouped by length",
        COMPILE_KEY: "compiled layers",
    }
    if STAGE_KEY in changes:
        words[STAGE_KEY] = f"ZeRO-{changes[STAGE_KEY][0]}"
    if CUTOFF_KEY in changes:
        words["packing"] = f"packs of {changes[CUTOFF_KEY][0]}"
    named = [word for key, word in words.items() if key in changes]
    return ", ".join(named) or "as it is"


def no_fit_error(request: PlanRequest, candidates: Sequence[Candidate]) -> PlanError:
    """The error for a training that does not fit: how much memory is missing, and what would fit.

    Example:
        The weights alone take 15.2 GB, and a T4 has 15.

        >>> from lfwrap.hardware.profile import catalog_machine
        >>> from lfwrap.plan.sample import sample_request
        >>> request = sample_request(hardware=catalog_machine("t4"))
        >>> str(no_fit_error(request, find_candidates(request))).split(":")[0]
        'qwen2.5-7b does not fit t4'
    """
    smallest = min(candidates, key=lambda candidate: candidate.memory.device_bytes)
    suggestions = [text for _, text in zip(range(_MAX_SUGGESTIONS), suggest_plans(request), strict=False)]
    memory = smallest.memory
    biggest = max(memory.terms, key=lambda term: term.bytes)
    return PlanError(
        f"{request.model.name} does not fit {request.hardware.name}: it needs at least"
        f" {format_bytes(memory.device_bytes)}, {format_bytes(device_limit_bytes(request.hardware))} may be used"
        f" (margin {MARGIN_SHARE:.0%}). The largest part: {biggest.name}, {format_bytes(biggest.bytes)}.",
        hint=f"Would fit: {'; '.join(suggestions)}." if suggestions else "Nothing similar fits: take a smaller model.",
    )


def suggest_plans(request: PlanRequest) -> Iterator[str]:
    """Settings that would fit instead, with the memory that they need, the nearest to the request first.

    Example:
        >>> from lfwrap.hardware.profile import catalog_machine
        >>> from lfwrap.plan.sample import sample_request
        >>> next(suggest_plans(sample_request(hardware=catalog_machine("t4")))).split(" (")[0]
        'quantization_bit=4'
    """
    for text, relaxed in _relaxations(request):
        candidate = best_candidate(find_candidates(relaxed))
        if candidate is not None:
            yield f"{text} ({format_bytes(candidate.memory.device_bytes)}, micro-batch {candidate.batch.micro_batch})"


def _relaxations(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """Requests that ask for less, with their settings in words: freedom, sharding, quantisation, length, GPUs."""
    free = replace(request, speed="auto", pinned=frozenset(), micro_limit=None)
    free = replace(free, effective_batch=request.effective_batch or request.batch.effective)
    plain = replace(free, values={**request.values, LIGER_KEY: None, NO_CHECKPOINTING_KEY: None, MICRO_KEY: None})
    yield "lfwrap.speed=auto with micro-batch and kernels left open", plain
    yield from _shared(plain)
    can_quantize = request.hardware.supports_quantization and request.zero_stage != WEIGHTS_SHARED
    is_adapter = request.values.get(METHOD_KEY, DEFAULT_METHOD) == "lora"
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
    """Higher ZeRO stages on the GPUs that there are, and at last optimizer states in main memory."""
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
    """Half the cutoff, a quarter of it, and so on."""
    cutoff = request.rows.longest_tokens // 2
    while cutoff >= _SHORTEST_CUTOFF:
        rows = request.rows.cut(cutoff)
        yield (
            f"{prefix}cutoff_len={cutoff}",
            replace(request, rows=rows, values={**request.values, CUTOFF_KEY: cutoff}),
        )
        cutoff //= 2


def _more_gpus(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """Two, four or eight GPUs that share all by ZeRO-3."""
    effective = request.effective_batch or request.batch.effective
    if request.hardware.kind not in {DeviceKind.CUDA, DeviceKind.ROCM} or request.values.get("quantization_bit"):
        return
    for count in (2, 4, 8):
        if count > request.world_size and effective % count == 0:
            yield (
                f"{count} such GPUs with lfwrap.zero_stage=3",
                replace(request, world_size=count, zero_stage=WEIGHTS_SHARED),
            )
