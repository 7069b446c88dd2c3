"""Ways to run one training on one machine, each with its memory and speed. Pure arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.plan.batch import BatchPlan, solve_batch
from lfwrap.plan.calibration import correct_memory, correct_speed
from lfwrap.plan.choices import Choices, read_choices
from lfwrap.plan.memory import MemoryEstimate, estimate_memory
from lfwrap.plan.packing import pack_capacities, packs_per_update, request_packs
from lfwrap.plan.request import (
    ACCUMULATION_KEY,
    CUTOFF_KEY,
    LIGER_KEY,
    MICRO_KEY,
    NO_CHECKPOINTING_KEY,
    PACKING_KEYS,
    SAMPLING_KEY,
    PlanRequest,
    Reasoned,
)
from lfwrap.plan.rows import Packs, padded_row_tokens
from lfwrap.plan.throughput import SpeedEstimate, estimate_speed

MARGIN_SHARE = 0.05
_LARGEST_MICRO_BATCH = 64
# A setting must be worth this much speed to be changed.
_WORTHWHILE = 0.02


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run it.

    Attributes:
        changes: engine key → (value, reason): what differs from the request.
        choices: the settings, on the longest rows.
        batch: how an update is made up; of packs, while packing.
        packs: what packing makes of the rows; None without packing, or while the rows' length is unknown.
        memory: what one GPU needs.
        speed: how fast it goes; None where the machine's rates are unknown.
        limit_bytes: what a GPU has, less the margin.
    """

    changes: Mapping[str, Reasoned]
    choices: Choices
    batch: BatchPlan
    packs: Packs | None
    memory: MemoryEstimate
    speed: SpeedEstimate | None
    limit_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it needs no more than a GPU has, margin left free."""
        return self.memory.device_bytes <= self.limit_bytes

    @property
    def rows_per_update(self) -> float | None:
        """Rows of the data that an update sees: on average, while packing; None where that is unknown."""
        if not self.choices.packing:
            return float(self.batch.effective)
        return None if self.packs is None else self.batch.effective * self.packs.rows_per_pack


def device_limit_bytes(hardware: HardwareProfile) -> int:
    """What a plan may use of the smallest GPU (of the main memory on a CPU): what is free, less the margin."""
    if not hardware.gpus:
        return int(hardware.ram_bytes * (1 - MARGIN_SHARE))
    free = min(gpu.memory_bytes if gpu.free_bytes is None else gpu.free_bytes for gpu in hardware.gpus)
    return int(free - MARGIN_SHARE * hardware.device_memory_bytes)


def slowest_gpu(hardware: HardwareProfile) -> Gpu | None:
    """The GPU that sets the pace."""
    return min(hardware.gpus, key=lambda gpu: gpu.compute_flops, default=None)


def evaluate(request: PlanRequest, changes: Mapping[str, Reasoned], batch: BatchPlan) -> Option:
    """Memory and speed of the request with some keys changed and its updates made up so."""
    values = {**request.values, **{key: value for key, (value, _) in changes.items()}}
    gpu = request.hardware.smallest_gpu
    choices = read_choices(
        values,
        seq_len_tokens=request.rows.longest_tokens,
        micro_batch=batch.micro_batch,
        accumulation=batch.accumulation,
        world_size=request.world_size,
        zero_stage=request.zero_stage,
        offload=request.offload,
        fused_attention=request.hardware.kind is not DeviceKind.CUDA or gpu is None or gpu.flash_attention,
    )
    cutoff = int(values.get(CUTOFF_KEY) or request.cutoff)
    packs = request_packs(request, cutoff) if choices.packing else None
    if choices.packing:
        choices = replace(choices, seq_len_tokens=cutoff)
    memory = estimate_memory(request.model, choices, request.hardware.kind)
    memory = correct_memory(memory, request.measured, request.model, choices)
    typical, real_share = _typical(request, choices, packs, grouped=values.get(SAMPLING_KEY) == "group_by_length")
    speed = estimate_speed(
        request.model,
        typical,
        slowest_gpu(request.hardware),
        real_share=real_share,
        interconnect=request.hardware.interconnect,
    )
    speed = correct_speed(speed, request.measured, request.model, choices)
    return Option(dict(changes), choices, batch, packs, memory, speed, device_limit_bytes(request.hardware))


def _typical(request: PlanRequest, choices: Choices, packs: Packs | None, *, grouped: bool) -> tuple[Choices, float]:
    """The settings with the length of a typical micro-batch, and the part of it that is no padding."""
    mean = request.rows.mean_tokens
    if choices.packing:
        return choices, packs.filled if packs else 1.0
    update_rows = choices.micro_batch * choices.accumulation
    padded = padded_row_tokens(request.rows, choices.micro_batch, update_rows, grouped=grouped)
    if mean is None or padded is None:
        return choices, 1.0
    length = max(1, round(padded))
    return replace(choices, seq_len_tokens=min(length, choices.seq_len_tokens)), min(1.0, mean / length)


def fixed_option(request: PlanRequest) -> Option:
    """What the recipe says, as it stands."""
    return evaluate(request, {}, request.batch)


def options(request: PlanRequest) -> Iterator[Option]:
    """Every way that the request leaves open, fitting or not."""
    for settings in itertools.product(*_settings(request)):
        changes: dict[str, Reasoned] = {key: value for setting in settings for key, value in setting.items()}
        for batch in _batches(request, changes):
            option = evaluate(request, changes, batch)
            yield option
            if not option.fits:
                break  # a larger micro-batch takes no less


def best_option(ways: Iterable[Option]) -> Option | None:
    """The fastest way that fits; None where none does. Each change must be worth 2% of speed."""
    return max((option for option in ways if option.fits), key=_rank, default=None)


def _rank(option: Option) -> tuple[float, float]:
    cost = 1 - _WORTHWHILE * len({key for key in option.changes if key not in {PACKING_KEYS[1], CUTOFF_KEY}})
    if option.speed is None:  # nothing is known of the machine's pace: as little as possible is changed
        return cost, float(option.choices.micro_batch)
    return option.speed.tokens_per_s * cost, -float(option.memory.device_bytes)


def _settings(request: PlanRequest) -> list[list[dict[str, Reasoned]]]:
    """What may be set otherwise: for each matter the ways, the first of them leaving it as it is."""
    as_it_is: dict[str, Reasoned] = {}
    if request.speed == "off" or request.effective_batch is None:
        return [[as_it_is]]
    matters = []
    on_gpu = request.hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}
    if request.is_free and on_gpu and _is_open(request, LIGER_KEY):
        reason = "Liger's fused loss and kernels: the same arithmetic without all logits at once."
        matters.append([as_it_is, {LIGER_KEY: (True, reason)}])
    if on_gpu and _is_open(request, NO_CHECKPOINTING_KEY):
        reason = "Activations fit: nothing has to be computed twice."
        matters.append([as_it_is, {NO_CHECKPOINTING_KEY: (True, reason)}])
    matters.append([as_it_is, *_length_settings(request)])
    return matters


def _length_settings(request: PlanRequest) -> Iterator[dict[str, Reasoned]]:
    """Packing, or grouping by length: they change which rows an update sees, and need the rows' length."""
    if not request.is_free or request.rows.mean_tokens is None:
        return
    if request.rows.is_exact and _is_open(request, *PACKING_KEYS):
        yield from _packing_settings(request)
    if _is_open(request, SAMPLING_KEY):
        yield {SAMPLING_KEY: ("group_by_length", "Rows of like length share a batch: less padding.")}


def _packing_settings(request: PlanRequest) -> Iterator[dict[str, Reasoned]]:
    """Packs as long as the cutoff; shorter ones where no row is longer and nothing else needs the cutoff."""
    for capacity in pack_capacities(request):
        packs = request_packs(request, capacity)
        if packs is None:
            continue
        reason = f"About {packs.rows_per_pack:.3g} rows share a sequence, kept apart by a mask: hardly any padding."
        setting: dict[str, Reasoned] = dict.fromkeys(PACKING_KEYS, (True, reason))
        if capacity != request.cutoff:
            why = f"No row has more than {request.rows.longest_tokens:,} tokens: shorter packs hold them all."
            setting[CUTOFF_KEY] = (capacity, why)
        yield setting


def _micro_limit(request: PlanRequest) -> int:
    """The largest micro-batch to try; on a machine whose pace is unknown, the one that is taken without a plan."""
    limit = request.micro_limit or _LARGEST_MICRO_BATCH
    gpu = slowest_gpu(request.hardware)
    return limit if gpu and gpu.compute_flops else min(limit, request.batch.micro_batch)


def _is_open(request: PlanRequest, *keys: str) -> bool:
    return not any(key in request.given or request.values.get(key) for key in keys)


def _batches(request: PlanRequest, changes: Mapping[str, Reasoned]) -> Iterator[BatchPlan]:
    """The batches to try: exact products of the effective batch; of packs, the number whose rows come nearest to it."""
    if request.effective_batch is None or request.speed == "off" or ACCUMULATION_KEY in request.given:
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
    fixed = request.batch.micro_batch if MICRO_KEY in request.given and request.micro_limit is None else None
    for micro in [fixed] if fixed else range(1, limit + 1):
        if share % micro == 0:
            yield solve_batch(effective, request.world_size, micro)
