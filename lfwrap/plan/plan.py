"""A plan: the fastest candidate that fits, what it needs, and what was rejected; else what would fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.engine.keys import ACCUMULATION_KEY, MICRO_KEY
from lfwrap.plan.candidate import MARGIN_SHARE, Candidate, evaluate
from lfwrap.plan.explain import Rejected, no_fit_error, plan_notes, rejected_candidates
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.memory.persistent import adapter_bytes
from lfwrap.plan.request import PlanRequest, Setting
from lfwrap.plan.search import best_candidate, find_candidates, rank_candidates, recipe_candidate
from lfwrap.units import format_bytes

_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training will run.

    Attributes:
        candidate: the candidate that was chosen.
        fits: whether it fits; only the prediction of an unchanged recipe may not.
        overrides: ``key=value`` texts that make `lfwrap train` run it.
        rejected: other combinations of settings, and why they were not chosen.
        steps: updates of the whole training; None where the number of rows is unknown.
        duration_s: seconds of all updates, compiling included; None likewise, or where the machine's rates are unknown.
        checkpoint_bytes: one checkpoint on disk, optimizer states included.
        disk_bytes: all checkpoints that are kept, one being written, and the result.
        notes: sentences that the person should know.
        rows: the lengths of the rows that it was made for.
    """

    candidate: Candidate
    fits: bool
    overrides: tuple[str, ...]
    rejected: tuple[Rejected, ...]
    steps: int | None
    duration_s: float | None
    checkpoint_bytes: int
    disk_bytes: int
    notes: tuple[str, ...]
    rows: RowLengths

    @property
    def shortage(self) -> str:
        """The memory that it needs, and what may be used of the smallest GPU, in words."""
        candidate = self.candidate
        need, limit = format_bytes(candidate.memory.device_bytes), format_bytes(candidate.limit_bytes)
        return f"it needs {need} of {limit} that may be used"

    @property
    def why_this_batch(self) -> str:
        """The peak memory, as a reason for the micro-batch."""
        candidate = self.candidate
        need, limit = format_bytes(candidate.memory.device_bytes), format_bytes(candidate.limit_bytes)
        return f"needs {need} of {limit} for rows of {candidate.settings.seq_len_tokens:,} tokens."

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        candidate = self.candidate
        speed = candidate.speed.to_json() if candidate.speed else {"tokens_per_s": None, "step_s": None}
        return {
            "fits": self.fits,
            MICRO_KEY: candidate.batch.micro_batch,
            ACCUMULATION_KEY: candidate.batch.accumulation,
            "world_size": candidate.batch.world_size,
            "rows_per_update": candidate.rows_per_update,
            "changes": {key: {"value": value, "reason": reason} for key, (value, reason) in candidate.changes.items()},
            "overrides": list(self.overrides),
            "memory": {
                **candidate.memory.to_json(),
                "limit_bytes": candidate.limit_bytes,
                "margin_share": MARGIN_SHARE,
                "longest_row_tokens": candidate.settings.seq_len_tokens,
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
        PlanError: no candidate fits; the hint names settings that would.

    Example:
        Three epochs of 10,000 rows, 16 of them an update:

        >>> from lfwrap.plan.sample import sample_request
        >>> make_plan(sample_request()).steps
        1875
    """
    candidates = find_candidates(request)
    best = best_candidate(candidates)
    if best is None:
        raise no_fit_error(request, candidates)
    return _finish(request, best, tuple(rejected_candidates(candidates, best)))


def predict_plan(request: PlanRequest) -> Plan:
    """The plan that changes nothing in the recipe, whether it fits or not.

    Example:
        >>> from lfwrap.hardware.profile import catalog_machine
        >>> from lfwrap.plan.sample import sample_request
        >>> predict_plan(sample_request(hardware=catalog_machine("t4"))).fits
        False
    """
    return _finish(request, recipe_candidate(request), ())


def rank_plans(request: PlanRequest, count: int) -> list[Plan]:
    """The plans that fit, the fastest first, for a machine that will measure them; empty where nothing fits.

    The first is the one that `make_plan` makes.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> len(rank_plans(sample_request(), 4))
        4
    """
    return [_finish(request, candidate, ()) for candidate in rank_candidates(find_candidates(request), count)]


def plan_candidate(request: PlanRequest, changes: Mapping[str, Setting], batch: BatchPlan) -> Plan:
    """The plan for a candidate that is already known, whether it fits or not.

    Args:
        request: what is planned.
        changes: engine key → value and reason.
        batch: how an update is made up.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> changes = {"packing": Setting(False, "measured")}
        >>> plan_candidate(sample_request(), changes, BatchPlan(4, 4, 1)).overrides
        ('packing=false', 'per_device_train_batch_size=4')
    """
    return _finish(request, evaluate(request, changes, batch), ())


def _finish(request: PlanRequest, candidate: Candidate, rejected: Sequence[Rejected]) -> Plan:
    checkpoint = _checkpoint_bytes(request, candidate)
    kept = request.values.get("save_total_limit") or _KEPT_CHECKPOINTS
    return Plan(
        candidate=candidate,
        fits=candidate.fits,
        overrides=tuple(_overrides(request, candidate)),
        rejected=tuple(rejected),
        steps=candidate.updates,
        duration_s=candidate.duration_s,
        checkpoint_bytes=checkpoint,
        disk_bytes=checkpoint * (int(kept) + 2),
        notes=tuple(plan_notes(request, candidate)),
        rows=request.rows,
    )


def _checkpoint_bytes(request: PlanRequest, candidate: Candidate) -> int:
    """Bytes of the trained weights, and of AdamW's states for them."""
    settings = candidate.settings
    trained = (
        adapter_bytes(request.model, settings) if settings.is_lora else settings.weight_bytes * request.model.parameters
    )
    return trained + int(settings.optimizer_bytes * settings.trainable_parameters(request.model))


def _overrides(request: PlanRequest, candidate: Candidate) -> Iterator[str]:
    """The arguments that make `lfwrap train` run this plan; the batch where it differs from the rendered recipe's."""
    for key, (value, _) in candidate.changes.items():
        yield f"{key}={str(value).lower() if isinstance(value, bool) else value}"
    if candidate.batch.effective != request.batch.effective:
        yield f"lfwrap.effective_batch_size={candidate.batch.effective}"
    if candidate.batch.micro_batch != request.batch.micro_batch:
        yield f"{MICRO_KEY}={candidate.batch.micro_batch}"
