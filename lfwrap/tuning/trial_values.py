"""The request for a trial of `lfwrap tune`, and the reading of its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lfwrap.engine.keys import ACCUMULATION_KEY
from lfwrap.plan.explain import describe
from lfwrap.strategy.lock import Trial
from lfwrap.strategy.strategy import Strategy

WARM_UP_UPDATES = 2
"""Updates of a trial that are not timed; its worker counts as many."""
TRIAL_ACCUMULATION = 4
TIMED_SLOTS = 8
# A candidate that is less than this much faster than `speed: auto`'s own may just have been lucky.
_NOISE = 0.01
# What a trial has no use for: saving, evaluating, watching, going on.
_LEFT_OUT = frozenset(
    {
        "do_eval", "enable_jit_checkpoint", "eval_dataset", "eval_on_each_dataset", "eval_steps", "eval_strategy",
        "load_best_model_at_end", "metric_for_best_model", "num_train_epochs", "plot_loss", "push_to_hub",
        "resume_from_checkpoint", "run_name", "save_steps", "save_total_limit", "use_swanlab",
    }
)  # fmt: skip


def describe_strategy(strategy: Strategy) -> str:
    """The settings of a strategy in words: ``Liger, packs of 1024, 4 × 6 × 1``."""
    plan = strategy.plan
    if plan is None:
        return "as it is"
    candidate = plan.candidate
    extension = ", extended" if strategy.extension else ""
    batch = f"{candidate.batch.micro_batch} × {candidate.batch.accumulation} × {candidate.batch.world_size}"
    return f"{describe(candidate.changes)}{extension}, {batch}"


def trial_accumulation(accumulation: int) -> int:
    """Micro-batches of a trial's update: gradients add up the same way however many there are."""
    return min(accumulation, TRIAL_ACCUMULATION)


def timed_slots(accumulation: int) -> int:
    """Micro-batches that a trial times: about eight, in whole updates, two at least.

    >>> timed_slots(1), timed_slots(3), timed_slots(64)
    (8, 9, 8)
    """
    each = trial_accumulation(accumulation)
    return each * max(2, -(-TIMED_SLOTS // each))


def trial_values(values: Mapping[str, Any], output_dir: str) -> dict[str, Any]:
    """The engine's values of a trial: the run's, without saving and evaluating, for a few updates.

    Args:
        values: the run's.
        output_dir: a folder that goes away.
    """
    accumulation = int(values[ACCUMULATION_KEY])
    each = trial_accumulation(accumulation)
    return {
        **{key: value for key, value in values.items() if key not in _LEFT_OUT},
        ACCUMULATION_KEY: each,
        "max_steps": WARM_UP_UPDATES + timed_slots(accumulation) // each,
        "output_dir": output_dir,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "overwrite_cache": False,
    }


def read_trial(strategy: Strategy, found: Mapping[str, Any] | None, rows: int | None) -> Trial:
    """What became of a trial.

    Args:
        strategy: how it was run.
        found: what the worker wrote; None where it wrote nothing.
        rows: rows of an epoch; None where their number is unknown.
    """
    speed = "max" if strategy.extension else "auto"
    if found is None:
        return Trial(describe_strategy(strategy), speed, strategy.choices, "failed", "its process ended without a word")
    epoch_s, status = found.get("epoch_s"), str(found["status"])
    if epoch_s is not None:
        epoch_s += _compile_s(strategy, found)
    why = {"oom": "out of memory", "failed": str(found.get("error", ""))[:200]}.get(status, "")
    return Trial(
        way=describe_strategy(strategy),
        speed=speed,
        values=strategy.choices,
        status=status,
        why=why,
        epoch_s=_rounded(epoch_s),
        row_s=_rounded(epoch_s / rows) if epoch_s and rows else None,
        tokens_per_s=_rounded(found.get("tokens", 0) / epoch_s) if epoch_s else None,
        supervised_tokens_per_s=_rounded(found.get("supervised_tokens", 0) / epoch_s) if epoch_s else None,
        peak_allocated_bytes=found.get("peak_allocated_bytes"),
        peak_reserved_bytes=found.get("peak_reserved_bytes"),
        trial_s=_rounded(found.get("wall_s")),
    )


def _compile_s(strategy: Strategy, found: Mapping[str, Any]) -> float:
    """An epoch's share of the seconds in which a training compiles its layers, which a trial does not time."""
    plan = strategy.plan
    if plan is None or not plan.steps or not found.get("updates"):
        return 0.0
    return plan.candidate.compile_s * min(1.0, float(found["updates"]) / plan.steps)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def choose_winner(trials: Sequence[Trial]) -> int | None:
    """The fastest one's number; 0, ``speed: auto``'s own, where none is clearly faster; None if none was measured."""
    measured = [
        (trial.epoch_s, number) for number, trial in enumerate(trials) if trial.status == "ok" and trial.epoch_s
    ]
    if not measured:
        return None
    best_s, best = min(measured)
    own_s = trials[0].epoch_s if trials[0].status == "ok" else None
    return 0 if own_s is not None and best_s > own_s * (1 - _NOISE) else best


def judge_trials(trials: Sequence[Trial], winner: int) -> tuple[Trial, ...]:
    """The trials, each with why it was not taken."""
    best_s = trials[winner].epoch_s or 0.0
    return tuple(
        trial if number == winner or trial.why else replace(trial, why=_why(trial, best_s))
        for number, trial in enumerate(trials)
    )


def _why(trial: Trial, best_s: float) -> str:
    if not trial.epoch_s or not best_s:
        return ""
    share = trial.epoch_s / best_s - 1
    if trial.status == "slower":
        return f"given up, about {share:.0%} slower"
    return f"{share:.1%} slower" if share > 0 else "no clear difference"
