"""What a person should know of a plan, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lfwrap.plan.candidate import Candidate
from lfwrap.plan.compiling import compiling_notes
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings
from lfwrap.plan.memory.persistent import weights_bytes
from lfwrap.plan.request import LIGER_KEY, SAMPLING_KEY, PlanRequest
from lfwrap.units import format_bytes

_HALF = 2  # bytes of a number in 16 bit


def plan_notes(request: PlanRequest, candidate: Candidate) -> Iterator[str]:
    """The notes of a plan: what its rows, packs and settings mean, and what is not known."""
    settings = candidate.settings
    if settings.packing:
        yield _packing_note(request, candidate)
    yield from _type_notes(request, settings)
    if SAMPLING_KEY in candidate.changes:
        yield "Rows are grouped by length: updates see other rows together than in a random order."
    yield from compiling_notes(request, candidate)
    if LIGER_KEY in candidate.changes:
        yield "Needs the liger-kernel package: `pip install 'lfwrap[speed]'`."
    yield _rows_note(request)
    if request.values.get("use_unsloth"):
        yield "Unsloth's kernels are not modelled: less memory, and more speed, than said here."
        if settings.dropout:
            yield "lora_dropout above 0 turns Unsloth's fast kernels off."
    if settings.world_size > 1:
        yield "More than one GPU: two H200s of one host were measured; more, and slower links, are reckoned from them."
    if request.measured:
        runs = ", ".join(each.run for each in request.measured[-3:])
        yield f"Corrected by what was measured on this kind of GPU with these versions: {runs}."
    if candidate.speed is None:
        yield "Nothing is known of this machine's pace: no estimate of time, and as little as possible is changed."


def _type_notes(request: PlanRequest, settings: TrainSettings) -> Iterator[str]:
    """What a checkpoint costs whose type is not the one that is computed in, and what to do about it."""
    stored = request.model.dtype
    copy = f"`lfwrap export {request.model.name} --out DIR`"
    if request.values.get("pure_bf16") and settings.precision is Precision.FULL:
        yield f"pure_bf16 casts nothing: of a {stored} checkpoint all is computed so. {copy} writes a copy in bf16."
    elif settings.is_lora and settings.is_recast and settings.checkpoint_bytes > _HALF:
        size = format_bytes(weights_bytes(request.model, settings))
        halved = replace(settings, checkpoint_bytes=_HALF, is_recast=False)
        yield (
            f"The checkpoint is in {stored}, and the engine leaves its frozen weights so: {size} where 16 bit takes"
            f" {format_bytes(weights_bytes(request.model, halved))}, and what passes between layers is fp32, too."
            f" {copy} writes a copy in bf16 to train on."
        )
    elif settings.is_lora and settings.is_recast:
        into = "fp16" if request.values.get("fp16") else "bf16"
        yield (
            f"The checkpoint is in {stored} and products are in {into}: what passes between layers becomes fp32."
            f" {copy[:-1]} --dtype {into}` writes a copy in one type."
        )


def _packing_note(request: PlanRequest, candidate: Candidate) -> str:
    """How many rows an update sees, and what that is beside the recipe's number."""
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
    """What is known of the rows' lengths."""
    rows = request.rows
    if rows.mean_tokens is None:
        return (
            "Row lengths are not known: memory is planned as if every row had the longest length, time as if they had a"
            " quarter of it, and nothing is packed. `lfwrap data stats` counts them; give --mean-row, --longest-row and"
            " --rows."
        )
    how = f" ({rows.basis})" if rows.basis else ""
    said = f"Rows have {rows.mean_tokens:,.0f} tokens on average; planned for {rows.longest_tokens:,}{how}."
    if rows.is_exact or not request.is_free:
        return said
    return f"{said} Rows are packed only where their tokens can be counted: name the model's folder."
