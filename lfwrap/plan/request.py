"""What is to be planned: a recipe as it is rendered for a machine, and which of its settings may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lfwrap.engine.keys import CUTOFF_KEY
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.speed.calibration import Measurement

STAGE_KEY = "lfwrap.zero_stage"


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
    """A training to plan, on one machine.

    Attributes:
        model: the model's shapes.
        values: the engine's keys as the recipe renders them for this machine.
        hardware: the machine.
        world_size: training processes, one for each GPU.
        rows: lengths and number of the rows.
        batch: how an update is made up in the rendered recipe.
        zero_stage: DeepSpeed's ZeRO stage; None without DeepSpeed.
        offload: whether ZeRO keeps optimizer states in main memory.
        effective_batch: rows of one update; None leaves the batch as rendered.
        speed: what may be changed: ``auto``, ``max``, ``exact`` or ``none``.
        pinned: keys that the person set; their values stay.
        locked: pinned keys that were set on the command line: not even an equivalent setting may replace them.
        micro_limit: the largest micro-batch to try; None for the default limit.
        open_stages: ZeRO stages to try where nothing fits without; empty where the recipe names one.
        measured: what earlier runs measured on this kind of GPU.
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
        """Whether settings may change that affect neither the number of rows of an update nor what is learned."""
        return self.speed in {"auto", "max"}

    @property
    def cutoff(self) -> int:
        """Tokens at which the engine cuts a row; also the tokens of a pack."""
        return int(self.values.get(CUTOFF_KEY) or self.rows.longest_tokens)

    def is_open(self, *keys: str) -> bool:
        """Whether none of these keys is pinned or set."""
        return not any(key in self.pinned or self.values.get(key) for key in keys)
