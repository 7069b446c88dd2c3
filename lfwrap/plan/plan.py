"""A plan: the fastest way that fits, what it needs, what was rejected; or the nearest way that would fit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.plan.candidate import MARGIN_SHARE, Option, evaluate
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import Rows
from lfwrap.plan.memory.persistent import adapter_bytes
from lfwrap.plan.notes import plan_notes
from lfwrap.plan.rejected import Rejected, rejected_ways
from lfwrap.plan.request import (
    ACCUMULATION_KEY,
    MICRO_KEY,
    PlanRequest,
    Reasoned,
)
from lfwrap.plan.search import best_option, fixed_option, options, rank_options
from lfwrap.plan.suggestions import nothing_fits
from lfwrap.units import format_bytes

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training will run.

    Attributes:
        option: the way taken.
        fits: whether it fits; only a prediction of what a recipe says may not.
        overrides: ``key=value`` texts that make `lfwrap train` run it.
        rejected: ways not taken.
        steps: updates in all; None where the number of rows is unknown.
        duration_s: seconds of all updates, compiling included; None likewise, or where the machine's rates are unknown.
        checkpoint_bytes: one checkpoint on disk, optimizer states included.
        disk_bytes: all checkpoints that are kept, one being written, and the result.
        notes: what the person should know.
        rows: the rows that it was made for.
    """

    option: Option
    fits: bool
    overrides: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    steps: int | None
    duration_s: float | None
    checkpoint_bytes: int
    disk_bytes: int
    notes: tuple[str, ...]
    rows: Rows

    @property
    def shortage(self) -> str:
        """What it needs, and what may be used of the smallest GPU."""
        option = self.option
        need, limit = format_bytes(option.memory.device_bytes), format_bytes(option.limit_bytes)
        return f"it needs {need} of {limit} that may be used"

    @property
    def why_this_batch(self) -> str:
        """Memory of its widest moment, as a reason for the micro-batch."""
        option = self.option
        need, limit = format_bytes(option.memory.device_bytes), format_bytes(option.limit_bytes)
        return f"needs {need} of {limit} for rows of {option.choices.seq_len_tokens:,} tokens."

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        option = self.option
        speed = option.speed.to_json() if option.speed else {"tokens_per_s": None, "step_s": None}
        return {
            "fits": self.fits,
            MICRO_KEY: option.batch.micro_batch,
            ACCUMULATION_KEY: option.batch.accumulation,
            "world_size": option.batch.world_size,
            "rows_per_update": option.rows_per_update,
            "changes": {key: {"value": value, "reason": reason} for key, (value, reason) in option.changes.items()},
            "overrides": list(self.overrides),
            "memory": {
                **option.memory.to_json(),
                "limit_bytes": option.limit_bytes,
                "margin_share": MARGIN_SHARE,
                "longest_row_tokens": option.choices.seq_len_tokens,
            },
            "speed": {**speed, "steps": self.steps, "duration_s": self.duration_s},
            "disk": {"checkpoint_bytes": self.checkpoint_bytes, "needed_bytes": self.disk_bytes},
            "rows": {
                "longest_tokens": self.rows.longest_tokens,
                "mean_tokens": self.rows.mean_tokens,
                "count": self.rows.count,
                "basis": self.rows.basis,
            },
            "rejected": [{"settings": each.settings, "why": each.why} for each in self.rejected],
            "notes": list(self.notes),
        }


def make_plan(request: PlanRequest) -> Plan:
    """The fastest plan that fits.

    Raises:
        PlanError: none does; the hint names the nearest that do.
    """
    ways = options(request)
    best = best_option(ways)
    if best is None:
        raise nothing_fits(request, ways)
    return _finish(request, best, tuple(rejected_ways(ways, best)))


def predict_plan(request: PlanRequest) -> Plan:
    """What the recipe says, as it stands, whether it fits or not."""
    return _finish(request, fixed_option(request), ())


def rank_plans(request: PlanRequest, count: int) -> list[Plan]:
    """The best plans that fit, best first, for a machine that will measure them; empty where nothing fits.

    The first is the one that `make_plan` makes.
    """
    return [_finish(request, option, ()) for option in rank_options(options(request), count)]


def plan_way(request: PlanRequest, changes: Mapping[str, Reasoned], batch: BatchPlan) -> Plan:
    """A given way of running it, whether it fits or not."""
    return _finish(request, evaluate(request, changes, batch), ())


def _finish(request: PlanRequest, option: Option, rejected: Sequence[Rejected]) -> Plan:
    checkpoint = _checkpoint_bytes(request, option)
    kept = request.values.get("save_total_limit") or _KEPT_CHECKPOINTS
    return Plan(
        option=option,
        fits=option.fits,
        overrides=tuple(_overrides(request, option)),
        rejected=tuple(rejected),
        steps=option.updates,
        duration_s=option.duration_s,
        checkpoint_bytes=checkpoint,
        disk_bytes=checkpoint * (int(kept) + 2),
        notes=tuple(plan_notes(request, option)),
        rows=request.rows,
    )


def _checkpoint_bytes(request: PlanRequest, option: Option) -> int:
    """The trained weights, and AdamW's states for them."""
    choices = option.choices
    trained = (
        adapter_bytes(request.model, choices) if choices.is_lora else choices.weight_bytes * request.model.parameters
    )
    return trained + int(choices.optimizer_bytes * choices.trainable_parameters(request.model))


def _overrides(request: PlanRequest, option: Option) -> Iterator[str]:
    """What to hand to `lfwrap train` to run this plan; the batch where it differs from what is rendered without one."""
    for key, (value, _) in option.changes.items():
        yield f"{key}={str(value).lower() if isinstance(value, bool) else value}"
    if option.batch.effective != request.batch.effective:
        yield f"lfwrap.effective_batch_size={option.batch.effective}"
    if option.batch.micro_batch != request.batch.micro_batch:
        yield f"{MICRO_KEY}={option.batch.micro_batch}"
