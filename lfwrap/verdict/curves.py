"""The losses of a run as evidence: where they began and ended, how noisy they are, and whether they fell or rose."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.run.folder.checkpoints import step_of
from lfwrap.run.folder.paths import TRAINER_STATE, RunPaths

_SIGMAS = 3.0
"""A change counts from three standard errors on: chance does it once in 740 times where nothing changes."""
_MAD_TO_SIGMA = 1.4826
_MEDIAN_ERROR = 1.2533
"""The standard error of a median by that of a mean, for normal noise."""
_WINDOW_PART = 5
_WIDEST_WINDOW = 50
_FEWEST_FOR_NOISE = 4
_MOST_BLOCKS = 100


@dataclass(frozen=True, slots=True)
class Point:
    """A loss of the log.

    Attributes:
        step: updates done.
        loss: the loss; may be nan or infinite.
    """

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Log:
    """What the engine logged of a run.

    Attributes:
        training: training losses, one a step, ascending.
        evaluation: losses on the evaluation data, likewise.
        rates: learning rates, likewise.
        norms: norms of the gradients, likewise.
        total_steps: updates wanted; 0 when unknown.
    """

    training: tuple[Point, ...] = ()
    evaluation: tuple[Point, ...] = ()
    rates: tuple[Point, ...] = ()
    norms: tuple[Point, ...] = ()
    total_steps: int = 0


def read_log(paths: RunPaths) -> Log:
    """The log of a run; what is not there or can't be read is left out. Of a step done twice the later entry counts."""
    entries = _lines(paths.trainer_log)
    state = _object(paths.trainer_state)
    history = state.get("log_history")
    history = [entry for entry in history if isinstance(entry, dict)] if isinstance(history, list) else []
    evaluation = _points(entries, "eval_loss", "current_steps") or _points(history, "eval_loss", "step")
    training = _points(entries, "loss", "current_steps") or _points(history, "loss", "step")
    if not evaluation:
        last = _object(paths.output / "eval_results.json").get("eval_loss")
        steps = training[-1].step if training else 0
        evaluation = (Point(steps, float(last)),) if isinstance(last, int | float) else ()
    totals = [entry["total_steps"] for entry in entries if isinstance(entry.get("total_steps"), int)]
    return Log(
        training,
        evaluation,
        _points(entries, "lr", "current_steps") or _points(history, "learning_rate", "step"),
        _points(history, "grad_norm", "step"),
        totals[-1] if totals else 0,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; Python's reader takes the NaN that the engine writes, others don't."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _points(entries: Sequence[Mapping[str, Any]], key: str, step_key: str) -> tuple[Point, ...]:
    by_step = {
        entry[step_key]: float(entry[key])
        for entry in entries
        if isinstance(entry.get(key), int | float) and isinstance(entry.get(step_key), int)
    }
    return tuple(Point(step, by_step[step]) for step in sorted(by_step))


def best_step(paths: RunPaths) -> int | None:
    """The updates of the checkpoint that the trainer took for the best; None where it looked for none."""
    name = str(_object(paths.trainer_state).get("best_model_checkpoint") or "")
    return step_of(Path(name))


def saved_step(folder: Path) -> int | None:
    """The updates done by the trainer's state in a folder; None where there is none."""
    try:
        return int(orjson.loads((folder / TRAINER_STATE).read_bytes())["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class LossChange:
    """A loss curve from its beginning to its end.

    Attributes:
        updates: losses in it.
        first: the median of the first losses.
        last: that of the last ones.
        noise: the standard deviation of a loss around the curve; None where there are too few.
        falls: whether it ends lower than it began, by more than its noise explains.
        rises: whether it ends higher.
    """

    updates: int
    first: float
    last: float
    noise: float | None
    falls: bool
    rises: bool


def loss_noise(losses: Sequence[float]) -> float | None:
    """How far a loss lies from the curve, as a standard deviation; None for fewer than four.

    Neighbouring losses differ by their noise and by the slope. The median difference is the slope; what lies around it
    is noise, twice over, and the median of that does not see single spikes.

    >>> loss_noise([4.0, 3.0, 2.0, 1.0])
    0.0
    """
    if len(losses) < _FEWEST_FOR_NOISE:
        return None
    steps = [after - before for before, after in itertools.pairwise(losses)]
    slope = statistics.median(steps)
    return _MAD_TO_SIGMA * statistics.median(abs(step - slope) for step in steps) / math.sqrt(2)


def loss_change(points: Sequence[Point]) -> LossChange | None:
    """Where a curve began and ended, a fifth of it at each end, and whether that is more than noise; None without one.

    Two signs count: the medians of both ends differ by three standard errors, or the losses go one way all along
    (Mann's test for a trend).
    """
    losses = [point.loss for point in points if math.isfinite(point.loss)]
    if not losses:
        return None
    width = min(_WIDEST_WINDOW, max(1, len(losses) // _WINDOW_PART))
    first, last = statistics.median(losses[:width]), statistics.median(losses[-width:])
    noise = loss_noise(losses)
    if noise is None:
        return LossChange(len(losses), first, last, None, falls=False, rises=False)
    error = noise * _MEDIAN_ERROR * math.sqrt(2 / width)
    trend = trend_score(losses)
    falls = last < first and (first - last > _SIGMAS * error or trend < -_SIGMAS)
    rises = last > first and (last - first > _SIGMAS * error or trend > _SIGMAS)
    return LossChange(len(losses), first, last, noise, falls, rises)


def trend_score(losses: Sequence[float]) -> float:
    """How surely losses rise (above 0) or fall (below), in standard deviations of chance: Mann's test for a trend.

    Long curves are first made shorter by the medians of at most 100 pieces.

    >>> round(trend_score([5.0, 4.0, 3.0, 2.0, 1.0]), 2)
    -2.2
    """
    if len(losses) > _MOST_BLOCKS:
        size = math.ceil(len(losses) / _MOST_BLOCKS)
        losses = [statistics.median(losses[start : start + size]) for start in range(0, len(losses), size)]
    count = len(losses)
    if count < _FEWEST_FOR_NOISE:
        return 0.0
    score = sum(
        (after > before) - (after < before) for number, before in enumerate(losses) for after in losses[number + 1 :]
    )
    spread = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return (score - math.copysign(1, score)) / spread if score else 0.0
