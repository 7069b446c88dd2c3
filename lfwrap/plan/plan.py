"""A plan: the fastest way that fits, what it needs, what was rejected; or the nearest way that would fit. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.plan.lasting import adapter_bytes
from lfwrap.plan.nearest import nothing_fits
from lfwrap.plan.request import (
    ACCUMULATION_KEY,
    CUTOFF_KEY,
    LIGER_KEY,
    MICRO_KEY,
    NO_CHECKPOINTING_KEY,
    SAMPLING_KEY,
    PlanRequest,
)
from lfwrap.plan.rows import Rows
from lfwrap.plan.search import MARGIN_SHARE, Option, best_option, fixed_option, options
from lfwrap.units import format_bytes

_DEFAULT_EPOCHS = 3.0
_KEPT_CHECKPOINTS = 2


@dataclass(frozen=True, slots=True)
class Rejected:
    """A way that was not taken.

    Attributes:
        settings: what it would have set.
        why: it does not fit, or is slower; in figures.
    """

    settings: str
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training will run.

    Attributes:
        option: the way taken.
        fits: whether it fits; only a prediction of what a recipe says may not.
        overrides: ``key=value`` texts that make `lfwrap train` run it.
        rejected: ways not taken.
        steps: updates in all; None where the number of rows is unknown.
        duration_s: seconds of all updates; None likewise, or where the machine's rates are unknown.
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
    ways = list(options(request))
    best = best_option(ways)
    if best is None:
        raise nothing_fits(request, ways)
    return _finish(request, best, tuple(_rejected(ways, best)))


def predict_plan(request: PlanRequest) -> Plan:
    """What the recipe says, as it stands, whether it fits or not."""
    return _finish(request, fixed_option(request), ())


def _finish(request: PlanRequest, option: Option, rejected: Sequence[Rejected]) -> Plan:
    steps = _steps(request, option)
    checkpoint = _checkpoint_bytes(request, option)
    kept = request.values.get("save_total_limit") or _KEPT_CHECKPOINTS
    return Plan(
        option=option,
        fits=option.fits,
        overrides=tuple(_overrides(request, option)),
        rejected=tuple(rejected),
        steps=steps,
        duration_s=steps * option.speed.step_s if steps is not None and option.speed else None,
        checkpoint_bytes=checkpoint,
        disk_bytes=checkpoint * (int(kept) + 2),
        notes=tuple(_notes(request, option)),
        rows=request.rows,
    )


def _steps(request: PlanRequest, option: Option) -> int | None:
    fixed = request.values.get("max_steps")
    if isinstance(fixed, int) and fixed > 0:
        return fixed
    if request.rows.count is None or option.rows_per_update is None:
        return None
    epochs = float(request.values.get("num_train_epochs") or _DEFAULT_EPOCHS)
    return max(1, math.ceil(epochs * math.ceil(request.rows.count / option.rows_per_update)))


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


def _notes(request: PlanRequest, option: Option) -> Iterator[str]:
    choices = option.choices
    if choices.packing:
        yield _packing_note(request, option)
    if SAMPLING_KEY in option.changes:
        yield "Rows are grouped by length: updates see other rows together than in a random order."
    if LIGER_KEY in option.changes:
        yield "Needs the liger-kernel package: `pip install 'lfwrap[speed]'`."
    yield _rows_note(request)
    if request.values.get("use_unsloth"):
        yield "Unsloth's kernels are not modelled: less memory, and more speed, than said here."
        if choices.dropout:
            yield "lora_dropout above 0 turns Unsloth's fast kernels off."
    if choices.world_size > 1:
        yield "More than one GPU: gradient buckets, NCCL and communication are assumed, not yet measured."
    if request.measured:
        runs = ", ".join(each.run for each in request.measured[-3:])
        yield f"Corrected by what was measured on this kind of GPU with these versions: {runs}."
    if option.speed is None:
        yield "The machine's rates are unknown, or it has no GPU: no estimate of time."


def _packing_note(request: PlanRequest, option: Option) -> str:
    """How many rows an update sees, and what that is beside the recipe's number."""
    said = f"An update sees {option.batch.effective} packs of {option.choices.seq_len_tokens:,} tokens"
    if option.packs is None or option.rows_per_update is None:
        return f"{said}; how many rows that is depends on their length: give --mean-row."
    rows = f"{option.rows_per_update:.1f} rows on average ({option.packs.rows_per_pack:.3g} a pack,"
    rows += f" {option.packs.filled:.0%} of it filled)"
    if "packing" not in option.changes or not request.effective_batch:
        return f"{said}: {rows}."
    off = option.rows_per_update / request.effective_batch - 1
    return f"{said}: {rows}, {off:+.1%} from the {request.effective_batch} of the recipe."


def _rows_note(request: PlanRequest) -> str:
    """What is known of the rows' lengths."""
    rows = request.rows
    if rows.mean_tokens is None:
        return (
            "Row lengths are not known: planned as if every row had the longest length, without packing."
            " `lfwrap data stats` counts them; give --mean-row, --longest-row and --rows."
        )
    how = f" ({rows.basis})" if rows.basis else ""
    said = f"Rows have {rows.mean_tokens:,.0f} tokens on average; planned for {rows.longest_tokens:,}{how}."
    if rows.is_exact or not request.is_free:
        return said
    return f"{said} Rows are packed only where their tokens can be counted: name the model's folder."


def _rejected(ways: Sequence[Option], best: Option) -> Iterator[Rejected]:
    """The best of each other combination of settings, and why it was not taken."""
    groups: dict[tuple[str, ...], list[Option]] = {}
    for option in ways:
        groups.setdefault(tuple(sorted(option.changes)), []).append(option)
    for key, members in groups.items():
        if key != tuple(sorted(best.changes)):
            yield _reject(members, best)
    larger = [option for option in groups[tuple(sorted(best.changes))] if not option.fits]
    if larger:
        first = min(larger, key=lambda option: option.batch.micro_batch)
        yield Rejected(f"{describe(first.changes)}, micro-batch {first.batch.micro_batch}", _too_large(first))


def _reject(members: Sequence[Option], best: Option) -> Rejected:
    fitting = [option for option in members if option.fits]
    if not fitting:
        smallest = min(members, key=lambda option: option.memory.device_bytes)
        return Rejected(f"{describe(smallest.changes)}, micro-batch {smallest.batch.micro_batch}", _too_large(smallest))
    fastest = max(fitting, key=lambda option: option.speed.tokens_per_s if option.speed else 0.0)
    if fastest.speed is None or best.speed is None:
        why = "fits, no faster"
    else:
        why = f"{fastest.speed.tokens_per_s:,.0f} tokens/s against {best.speed.tokens_per_s:,.0f}"
    return Rejected(f"{describe(fastest.changes)}, micro-batch {fastest.batch.micro_batch}", why)


def _too_large(option: Option) -> str:
    return f"needs {format_bytes(option.memory.device_bytes)} of {format_bytes(option.limit_bytes)}"


def describe(changes: Mapping[str, Any]) -> str:
    """The changed settings in words."""
    words: dict[str, str] = {
        LIGER_KEY: "Liger",
        NO_CHECKPOINTING_KEY: "no checkpointing",
        "packing": "packing",
        SAMPLING_KEY: "grouped by length",
    }
    if CUTOFF_KEY in changes:
        words["packing"] = f"packs of {changes[CUTOFF_KEY][0]}"
    named = [word for key, word in words.items() if key in changes]
    return ", ".join(named) or "as it is"
