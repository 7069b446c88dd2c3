"""A candidate: one way to run a training on a machine, with its memory and speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.engine.compat import KNOWN_ARCHITECTURES
from lfwrap.engine.keys import CUTOFF_KEY, SAMPLING_KEY
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import Packs, padded_row_tokens
from lfwrap.plan.inputs.train_settings import TrainSettings, read_settings
from lfwrap.plan.memory.estimate import MemoryEstimate
from lfwrap.plan.memory.peak import estimate_memory
from lfwrap.plan.packing import request_packs
from lfwrap.plan.request import STAGE_KEY, PlanRequest, Setting
from lfwrap.plan.schedule import count_updates
from lfwrap.plan.speed.calibration import correct_memory, correct_speed
from lfwrap.plan.speed.throughput import SpeedEstimate, estimate_speed

MARGIN_SHARE = 0.05
COMPILE_S = 20.0
"""Seconds that compiling adds to the first update: 13 to 16 s on hosts of H200s with 16 cores a GPU."""
_FP32_BYTES = 4
# Where the mean length of rows is unknown, time is planned as if it were this part of the longest.
_UNKNOWN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run a training, with its memory and speed.

    Attributes:
        changes: engine key → value and reason: the settings that differ from the request.
        settings: all settings, with the length of the longest rows.
        batch: how an update is made up, of rows or of packs.
        packs: the packs that the rows are put into; None without packing, or where the rows' length is unknown.
        memory: the memory that one GPU needs.
        speed: time and throughput; None where the machine's rates are unknown.
        limit_bytes: memory of a GPU that may be used, less the margin.
        updates: updates of the whole training; None where the number of rows is unknown.
    """

    changes: Mapping[str, Setting]
    settings: TrainSettings
    batch: BatchPlan
    packs: Packs | None
    memory: MemoryEstimate
    speed: SpeedEstimate | None
    limit_bytes: int
    updates: int | None = None

    @property
    def compile_s(self) -> float:
        """Seconds that compiling takes in the first update."""
        return COMPILE_S if self.settings.is_compiled else 0.0

    @property
    def duration_s(self) -> float | None:
        """Seconds of the whole training; None where the number of updates or the machine's rates are unknown."""
        return None if self.updates is None or self.speed is None else self.compile_s + self.updates * self.speed.step_s

    @property
    def fits(self) -> bool:
        """Whether it needs no more memory than a GPU has, with the margin left free."""
        return self.memory.device_bytes <= self.limit_bytes

    @property
    def rows_per_update(self) -> float | None:
        """Rows of the data in an update, with packing their mean number; None where it is unknown."""
        if not self.settings.packing:
            return float(self.batch.effective)
        return None if self.packs is None else self.batch.effective * self.packs.rows_per_pack


def device_limit_bytes(hardware: HardwareProfile) -> int:
    """Bytes of the smallest GPU that a plan may use: what is free, less 5% of all; on a CPU 95% of the RAM.

    Example:
        >>> from lfwrap.hardware.profile import catalog_machine
        >>> device_limit_bytes(catalog_machine("h100-80gb")) == int(0.95 * 81559 * 2**20)
        True
    """
    if not hardware.gpus:
        return int(hardware.ram_bytes * (1 - MARGIN_SHARE))
    free = min(gpu.memory_bytes if gpu.free_bytes is None else gpu.free_bytes for gpu in hardware.gpus)
    return int(free - MARGIN_SHARE * hardware.device_memory_bytes)


def paced_gpu(hardware: HardwareProfile) -> Gpu | None:
    """The slowest GPU, which sets the pace; None without CUDA or ROCm, or where its rates are unknown.

    Example:
        >>> from lfwrap.hardware.profile import catalog_machine
        >>> paced_gpu(catalog_machine("l4")).name
        'NVIDIA L4'
        >>> paced_gpu(catalog_machine("cpu")) is None
        True
    """
    if hardware.kind not in {DeviceKind.CUDA, DeviceKind.ROCM}:
        return None
    slowest = min(hardware.gpus, key=lambda gpu: gpu.compute_flops, default=None)
    return slowest if slowest is not None and slowest.compute_flops else None


def evaluate(request: PlanRequest, changes: Mapping[str, Setting], batch: BatchPlan) -> Candidate:
    """The candidate that changes some of the request's keys, with its memory and speed.

    Args:
        request: what is planned.
        changes: engine key → value and reason.
        batch: how an update is made up.

    Example:
        NF4 takes half a byte a weight of the linear layers, and a scale for each 64 weights.

        >>> from lfwrap.plan.sample import sample_request
        >>> changes = {"quantization_bit": Setting(4, "It fits a smaller GPU.")}
        >>> candidate = evaluate(sample_request(), changes, BatchPlan(8, 2, 1))
        >>> candidate.memory.terms[0].name, candidate.memory.terms[0].bytes
        ('base weights', 5546851072)
    """
    values = {**request.values, **{key: value for key, (value, _) in changes.items()}}
    settings = _read(request, values, batch)
    packs = request_packs(request, settings.seq_len_tokens) if settings.packing else None
    memory = estimate_memory(request.model, settings, request.hardware.kind)
    memory = correct_memory(memory, request.measured, request.model, settings)
    typical, real_share = _typical(request, settings, packs, grouped=values.get(SAMPLING_KEY) == "group_by_length")
    gpu, link = paced_gpu(request.hardware), request.hardware.interconnect
    speed = estimate_speed(request.model, typical, gpu, real_share=real_share, interconnect=link)
    speed = correct_speed(speed, request.measured, request.model, settings)
    candidate = Candidate(dict(changes), settings, batch, packs, memory, speed, device_limit_bytes(request.hardware))
    updates = count_updates(request.values, request.rows.count, candidate.rows_per_update)
    return replace(candidate, updates=updates)


def _read(request: PlanRequest, values: Mapping[str, Any], batch: BatchPlan) -> TrainSettings:
    """The settings, with the length of the longest rows; packs are as long as the cutoff."""
    gpu = request.hardware.smallest_gpu
    settings = read_settings(
        values,
        replace(batch, world_size=request.world_size),
        request.rows.longest_tokens,
        zero_stage=values.get(STAGE_KEY, request.zero_stage),
        offload=request.offload,
        padded=request.rows.pads(batch.micro_batch),
        checkpoint=request.model.dtype,
    )
    has_kernels = request.hardware.kind is not DeviceKind.CUDA or gpu is None or gpu.flash_attention
    settings = _extended(request, replace(settings, fused_attention=has_kernels))
    cutoff = int(values.get(CUTOFF_KEY) or request.cutoff)
    return replace(settings, seq_len_tokens=cutoff) if settings.packing else settings


def _extended(request: PlanRequest, settings: TrainSettings) -> TrainSettings:
    """The settings with what lfwrap's extension (lfwrap_worker/speed) does for this model under `speed: max`."""
    if request.speed != "max" or request.hardware.kind not in {DeviceKind.CUDA, DeviceKind.ROCM}:
        return settings
    model = request.model
    is_known = model.architecture in KNOWN_ARCHITECTURES and not model.sliding_window
    return replace(settings, is_extended=True, is_padding_free=is_known and settings.compute_bytes < _FP32_BYTES)


def _typical(
    request: PlanRequest, settings: TrainSettings, packs: Packs | None, *, grouped: bool
) -> tuple[TrainSettings, float]:
    """The settings with the length of a typical micro-batch, and the part of its tokens that is not padding."""
    rows = request.rows
    mean = rows.mean_tokens or max(1.0, _UNKNOWN_SHARE * rows.longest_tokens)
    if settings.is_padding_free:
        return _without_padding(settings, packs, mean)
    if settings.packing:
        return settings, packs.filled if packs else 1.0
    update_rows = settings.micro_batch * settings.accumulation
    padded = padded_row_tokens(replace(rows, mean_tokens=mean), settings.micro_batch, update_rows, grouped=grouped)
    length = min(max(1, round(padded or mean)), settings.seq_len_tokens)
    return replace(settings, seq_len_tokens=length), min(1.0, mean / length)


def _without_padding(settings: TrainSettings, packs: Packs | None, mean_tokens: float) -> tuple[TrainSettings, float]:
    """The same where the extension concatenates rows: no padding, and each row attends only to itself."""
    row = max(1, round(mean_tokens))
    length = round(settings.seq_len_tokens * packs.filled) if packs else min(row, settings.seq_len_tokens)
    return replace(settings, seq_len_tokens=max(1, length), attended_tokens=row), 1.0
