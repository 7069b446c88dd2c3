"""Ways to run one training on one machine, each with its memory and speed. Pure arithmetic."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.model.facts import ModelFacts
from lfwrap.plan.batch import BatchPlan, solve_batch
from lfwrap.plan.choices import Choices, read_choices
from lfwrap.plan.memory import MemoryEstimate, estimate_memory
from lfwrap.plan.throughput import SpeedEstimate, estimate_speed

MARGIN_SHARE = 0.05
MICRO_KEY, ACCUMULATION_KEY = "per_device_train_batch_size", "gradient_accumulation_steps"
LIGER_KEY, NO_CHECKPOINTING_KEY = "enable_liger_kernel", "disable_gradient_checkpointing"
SAMPLING_KEY, PACKING_KEYS = "train_sampling_strategy", ("packing", "neat_packing")
_LARGEST_MICRO_BATCH = 64
# Of 4096-token packs of Alpaca rows, about this much was filled (221k tokens passed for 170k of text).
_PACK_FILLED = 0.8
# Padding of batches grouped by length, for each doubling of the batch: 34% at 8 and 71% at 32 of 999 Alpaca rows.
_GROUPED_PADDING = 0.14
# A setting must be worth this much speed to be changed.
_WORTHWHILE = 0.02

Reasoned = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class Rows:
    """How long the data's rows are, in tokens, and how many there are; None where it is not known.

    Attributes:
        longest_tokens: the longest, at most the cutoff: what memory is planned for.
        mean_tokens: the mean, for time and packing.
        count: rows of an epoch.
    """

    longest_tokens: int
    mean_tokens: float | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is to be planned.

    Attributes:
        model: the model's shapes.
        values: the engine's keys as the recipe renders them for this machine.
        hardware: the machine.
        world_size: processes.
        rows: lengths and number of the rows.
        batch: how an update is made up as rendered.
        zero_stage: DeepSpeed's stage, if DeepSpeed is used.
        offload: whether ZeRO offloads.
        effective_batch: rows an update shall see; None leaves the batch as rendered.
        speed: what may be changed: ``auto``, ``exact`` or ``off``.
        given: keys that the person set: they stay.
        micro_limit: the largest micro-batch to try; None for the usual.
    """

    model: ModelFacts
    values: Mapping[str, Any]
    hardware: HardwareProfile
    world_size: int
    rows: Rows
    batch: BatchPlan
    zero_stage: int | None = None
    offload: bool = False
    effective_batch: int | None = None
    speed: str = "off"
    given: frozenset[str] = field(default_factory=frozenset)
    micro_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run it.

    Attributes:
        changes: engine key → (value, reason): what differs from the request.
        choices: the settings, on the longest rows.
        batch: how an update is made up; of packs, while packing.
        rows_per_sequence: rows in a pack, about; 1 without packing; None while the rows' mean length is unknown.
        memory: what one GPU needs.
        speed: how fast it goes; None where the machine's rates are unknown.
        limit_bytes: what a GPU has, less the margin.
    """

    changes: Mapping[str, Reasoned]
    choices: Choices
    batch: BatchPlan
    rows_per_sequence: int | None
    memory: MemoryEstimate
    speed: SpeedEstimate | None
    limit_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it needs no more than a GPU has, margin left free."""
        return self.memory.device_bytes <= self.limit_bytes

    @property
    def rows_per_update(self) -> int | None:
        """Rows of the data that an update sees: about so many, while packing; None where that is unknown."""
        return None if self.rows_per_sequence is None else self.batch.effective * self.rows_per_sequence


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
    if choices.packing:
        choices = replace(choices, seq_len_tokens=_cutoff(request))
    memory = estimate_memory(request.model, choices, request.hardware.kind)
    typical, real_share = _typical(request, choices, values)
    speed = estimate_speed(
        request.model,
        typical,
        slowest_gpu(request.hardware),
        real_share=real_share,
        interconnect=request.hardware.interconnect,
    )
    rows = _rows_per_pack(request) if choices.packing else 1
    return Option(dict(changes), choices, batch, rows, memory, speed, device_limit_bytes(request.hardware))


def _cutoff(request: PlanRequest) -> int:
    return int(request.values.get("cutoff_len") or request.rows.longest_tokens)


def _rows_per_pack(request: PlanRequest) -> int | None:
    mean = request.rows.mean_tokens
    return None if mean is None else max(1, int(_cutoff(request) * _PACK_FILLED / mean))


def _typical(request: PlanRequest, choices: Choices, values: Mapping[str, Any]) -> tuple[Choices, float]:
    """The settings with the length of a typical micro-batch, and the part of it that is no padding.

    Rows of random batches are padded to the longest of them: of n rows whose lengths spread like an exponential
    distribution, mean × (1 + 1/2 + … + 1/n). Batches grouped by length have some padding, too.
    """
    mean = request.rows.mean_tokens
    if choices.packing:
        return choices, _PACK_FILLED
    if mean is None:
        return choices, 1.0
    if values.get(SAMPLING_KEY) == "group_by_length":
        spread = 1 + _GROUPED_PADDING * math.log2(choices.micro_batch)
    else:
        spread = sum(1 / number for number in range(1, choices.micro_batch + 1))
    padded = min(request.rows.longest_tokens, max(1, round(mean * spread)))
    return replace(choices, seq_len_tokens=padded), min(1.0, mean / padded)


def fixed_option(request: PlanRequest) -> Option:
    """What the recipe says, as it stands."""
    return evaluate(request, {}, request.batch)


def options(request: PlanRequest) -> Iterator[Option]:
    """Every way that the request leaves open, fitting or not."""
    for settings in itertools.product(*_settings(request)):
        changes: dict[str, Reasoned] = {key: value for setting in settings for key, value in setting.items()}
        for batch in _batches(request, is_packed="packing" in changes):
            yield evaluate(request, changes, batch)


def best_option(request: PlanRequest) -> Option | None:
    """The fastest way that fits; None where none does. Each change must be worth 2% of speed."""
    fitting = [option for option in options(request) if option.fits]
    return max(fitting, key=_rank, default=None)


def _rank(option: Option) -> tuple[float, float]:
    cost = 1 - _WORTHWHILE * len({key for key in option.changes if key != PACKING_KEYS[1]})
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
    if request.speed == "auto" and on_gpu and _is_open(request, LIGER_KEY):
        reason = "Liger's fused loss and kernels: the same arithmetic without all logits at once."
        matters.append([as_it_is, {LIGER_KEY: (True, reason)}])
    if on_gpu and _is_open(request, NO_CHECKPOINTING_KEY):
        reason = "Activations fit: nothing has to be computed twice."
        matters.append([as_it_is, {NO_CHECKPOINTING_KEY: (True, reason)}])
    matters.append([as_it_is, *_length_settings(request)])
    return matters


def _length_settings(request: PlanRequest) -> Iterator[dict[str, Reasoned]]:
    """Packing, or grouping by length: they change which rows an update sees, and need the rows' mean length."""
    if request.speed != "auto" or request.rows.mean_tokens is None:
        return
    if _is_open(request, *PACKING_KEYS):
        reason = f"About {_rows_per_pack(request)} rows share a sequence, kept apart by a mask: hardly any padding."
        yield dict.fromkeys(PACKING_KEYS, (True, reason))
    if _is_open(request, SAMPLING_KEY):
        yield {SAMPLING_KEY: ("group_by_length", "Rows of like length share a batch: less padding.")}


def _micro_limit(request: PlanRequest) -> int:
    """The largest micro-batch to try; on a machine whose pace is unknown, the one that is taken without a plan."""
    limit = request.micro_limit or _LARGEST_MICRO_BATCH
    gpu = slowest_gpu(request.hardware)
    return limit if gpu and gpu.compute_flops else min(limit, request.batch.micro_batch)


def _is_open(request: PlanRequest, *keys: str) -> bool:
    return not any(key in request.given or request.values.get(key) for key in keys)


def _batches(request: PlanRequest, *, is_packed: bool) -> Iterator[BatchPlan]:
    """The batches to try: exact products of the effective batch; of packs, the nearest number of them."""
    if request.effective_batch is None or request.speed == "off" or ACCUMULATION_KEY in request.given:
        yield request.batch
        return
    effective = request.effective_batch
    if is_packed:
        unit = request.world_size * (_rows_per_pack(request) or 1)
        effective = max(1, round(effective / unit)) * request.world_size
    share = effective // request.world_size
    limit = min(_micro_limit(request), share)
    fixed = request.batch.micro_batch if MICRO_KEY in request.given and request.micro_limit is None else None
    for micro in [fixed] if fixed else range(1, limit + 1):
        if share % micro == 0:
            yield solve_batch(effective, request.world_size, micro)
