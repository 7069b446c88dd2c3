"""Make the verdict of a run within its time, and keep it in the run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import TypeVar

from lfwrap.engine.locate import locate_engine
from lfwrap.errors import LfwrapError
from lfwrap.inference.held_out_rows import engine_settings
from lfwrap.model.folder import trained_folder
from lfwrap.run.folder.checkpoints import step_of
from lfwrap.run.folder.record import Run
from lfwrap.verdict.answers import ask_both
from lfwrap.verdict.curves import best_step, read_log, saved_step
from lfwrap.verdict.evidence import Evidence
from lfwrap.verdict.judge import judge
from lfwrap.verdict.result import RunVerdict, VerdictKind, announce_verdict, keep_verdict
from lfwrap.verdict.rows import data_facts
from lfwrap.verdict.weights import WeightChange, measure_weights
from lfwrap.yaml_files import load_yaml

LEAST_BUDGET_S = 15.0
BUDGET_PART = 0.02
"""A verdict may take 15 seconds, or a fiftieth of the run's time where that is more."""
_WEIGHTS_PART = 0.3
_ENDING_S = 0.5


def budget_of(run: Run) -> float:
    """The seconds that a run's verdict may take."""
    return max(LEAST_BUDGET_S, BUDGET_PART * run.record.duration_s)


def is_wanted(run: Run) -> bool:
    """Whether the run trained, and its recipe leaves its verdict in: ``verdict: false`` in its block takes it out."""
    try:
        block, settings = load_yaml(run.paths.recipe).values.get("lfwrap"), engine_settings(run)
    except (LfwrapError, OSError):
        return True
    only_asks = bool(settings.get("do_predict") or settings.get("do_eval"))
    if not settings.get("do_train", not only_asks):
        return False
    return not (isinstance(block, dict) and block.get("verdict") is False)


def make_verdict(run: Run, budget_s: float | None = None) -> RunVerdict:
    """Look at a run's result, say what became of it, and keep that as ``verdict.json``; fails for no run at all.

    Args:
        run: a run with a result.
        budget_s: the seconds that it may take; None for those that `budget_of` gives.
    """
    begun_s = time.monotonic()
    budget_s = budget_of(run) if budget_s is None else budget_s
    with contextlib.suppress(OSError):  # told below, when the verdict itself can't be kept
        announce_verdict(run.paths, run.record.attempt, budget_s)
    try:
        verdict = _judge(run, begun_s, budget_s)
    except Exception as error:  # noqa: BLE001 - the run has succeeded, whatever becomes of its verdict
        reason = error.message if isinstance(error, LfwrapError) else f"{type(error).__name__}: {error}"
        verdict = RunVerdict(VerdictKind.UNKNOWN, f"It could not be found out: {reason}")
    verdict = dataclasses.replace(verdict, seconds=time.monotonic() - begun_s, attempt=run.record.attempt)
    try:
        keep_verdict(run.paths, verdict)
    except OSError as error:
        left_out = (*verdict.left_out, f"it could not be kept: {error.strerror}")
        verdict = dataclasses.replace(verdict, left_out=left_out)
    return verdict


def _judge(run: Run, begun_s: float, budget_s: float) -> RunVerdict:
    left_out: list[str] = []
    engine = locate_engine()
    weights = _attempt("weights", left_out, lambda: measure_weights(engine, run, budget_s * _WEIGHTS_PART))
    evidence = _gather(run, weights)
    if _is_worth_asking(evidence):
        asked = _attempt("answers", left_out, lambda: ask_both(engine, run, begun_s + budget_s - _ENDING_S))
        if asked is not None:
            answers, unasked = asked
            evidence = dataclasses.replace(evidence, answers=answers)
            left_out += [f"answers: {reason}" for reason in unasked]
    verdict = judge(evidence)
    return dataclasses.replace(verdict, left_out=(*(weights.notes if weights else ()), *left_out))


def _is_worth_asking(evidence: Evidence) -> bool:
    """Whether the answers could say more: weights that did not move, or are no numbers, answer for themselves."""
    weights = evidence.weights
    return weights is None or (not weights.broken and weights.moved != 0)


_Part = TypeVar("_Part")


def _attempt(what: str, left_out: list[str], work: Callable[[], _Part]) -> _Part | None:
    """What a part of the evidence says; None where it can't be had, with the reason in ``left_out``."""
    try:
        return work()
    except (LfwrapError, OSError) as error:
        reason = error.message if isinstance(error, LfwrapError) else str(error)
        left_out.append(f"{what}: {reason}")
        return None


def _gather(run: Run, weights: WeightChange | None) -> Evidence:
    paths = run.paths
    return Evidence(
        log=read_log(paths),
        weights=weights,
        data=data_facts(run),
        saved_step=saved_step(paths.output),
        best_step=best_step(paths) if _loads_best(run) else None,
        kept_steps=tuple(sorted(step for path in paths.checkpoints() if (step := step_of(path)) is not None)),
        result_is_older=_is_older(run),
    )


def _loads_best(run: Run) -> bool:
    """Whether the result is the best checkpoint, and not the last."""
    try:
        return bool(engine_settings(run).get("load_best_model_at_end"))
    except (LfwrapError, OSError):
        return False


def _is_older(run: Run) -> bool:
    """Whether the result's files were all written before the last start of the engine."""
    files = trained_folder(run.paths.output, run.record.finetuning_type).weight_files()
    try:
        started_s = run.paths.attempt(max(run.record.attempt, 0)).command.stat().st_mtime
        return bool(files) and max(path.stat().st_mtime for path in files) < started_s
    except OSError:
        return False
