"""What is to be planned: a recipe as it is rendered for a machine, and what may be changed about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lfwrap.hardware.profile import HardwareProfile
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.speed.calibration import Measurement

MICRO_KEY, ACCUMULATION_KEY = "per_device_train_batch_size", "gradient_accumulation_steps"
CUTOFF_KEY = "cutoff_len"
LIGER_KEY, NO_CHECKPOINTING_KEY = "enable_liger_kernel", "disable_gradient_checkpointing"
OFFLOADED_CHECKPOINTS_KEY = "use_unsloth_gc"
COMPILE_KEY = "torch_compile"
LOADERS_KEY = "dataloader_num_workers"
STAGE_KEY = "lfwrap.zero_stage"
SAMPLING_KEY, PACKING_KEYS = "train_sampling_strategy", ("packing", "neat_packing")


class Setting(NamedTuple):
    """A value that lfwrap gives to a key, and why.

    Attributes:
        value: what the key is set to.
        reason: why, a sentence; empty where the source says it all.
    """

    value: Any
    reason: str


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
        speed: what may be changed: ``auto``, ``max``, ``exact`` or ``none``.
        pinned: keys that the person set; their values stay.
        locked: pinned keys that were set on the command line: not even an equivalent setting may replace them.
        micro_limit: the largest micro-batch to try; None for the usual.
        open_stages: ZeRO stages to try where nothing fits without; none where the recipe names one.
        measured: what one's own runs measured on this kind of GPU.
    """

    model: ModelFacts
    values: Mapping[str, Any]
    hardware: HardwareProfile
    world_size: int
    rows: RowLengths
    batch: BatchPlan
    zero_stage: int | None = None
    offload: bool = False
    effective_batch: int | None = None
    speed: str = "none"
    pinned: frozenset[str] = field(default_factory=frozenset)
    locked: frozenset[str] = field(default_factory=frozenset)
    micro_limit: int | None = None
    open_stages: tuple[int, ...] = ()
    measured: tuple[Measurement, ...] = ()

    @property
    def is_free(self) -> bool:
        """Whether anything may be changed that leaves the rows of an update, and what is learned, as they are."""
        return self.speed in {"auto", "max"}

    @property
    def cutoff(self) -> int:
        """Tokens at which the engine cuts a row, and that a pack holds."""
        return int(self.values.get(CUTOFF_KEY) or self.rows.longest_tokens)

    def is_open(self, *keys: str) -> bool:
        """Whether nobody has set any of these keys."""
        return not any(key in self.pinned or self.values.get(key) for key in keys)
