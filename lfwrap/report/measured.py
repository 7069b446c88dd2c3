"""What a run's own log says of its curves, its speed and its memory."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.run.folder.health import Sample
from lfwrap.run.folder.monitor import FileTail, load_line
from lfwrap.units import GIB

_CURVES = {"loss": "loss", "eval_loss": "eval_loss", "learning_rate": "lr"}
"""Curve → the key of ``trainer_log.jsonl``."""
_NUMBERS = frozenset(
    {*_CURVES.values(), "total_steps", "total_tokens", "throughput", "vram_allocated", "vram_reserved"}
)

_HEALTH = {
    "grad_norm": ("grad_norm", 1.0),
    "loss_spread": ("spread", 1.0),
    "gpu_memory": ("memory_bytes", GIB),
    "gpu_reserved": ("reserved_bytes", GIB),
    "gpu_busy": ("busy_percent", 1.0),
    "main_memory": ("rss_bytes", GIB),
    "cpu_cores": ("cpu_cores", 1.0),
}
"""Curve → the key of ``health.jsonl``, and what its unit is counted in."""

Points = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run measured of itself.

    Attributes:
        steps_timed: updates that the times rest on; the first of each attempt is left out, as it warms up.
        step_s: the median update's seconds; None where too few were logged.
        tokens_per_s: input tokens a second of all processes, padding included, while training.
        training_s: seconds from the first to the last update of each attempt, added up.
        peak_allocated_bytes: the most that live tensors took on the GPU; None where it was not recorded.
        peak_reserved_bytes: the most that torch held of it.
    """

    steps_timed: int
    step_s: float | None
    tokens_per_s: float | None
    training_s: float
    peak_allocated_bytes: int | None
    peak_reserved_bytes: int | None


def load_entries(trainer_log: Path) -> list[dict[str, Any]]:
    """The engine's log, one object an entry, as it was written; a line that is cut off is passed over.

    What should be a number and is none is left out of its entry.
    """
    found = []
    for line in FileTail(trainer_log).read_lines():
        try:
            entry = load_line(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("current_steps"), int):
            found.append({key: value for key, value in entry.items() if key not in _NUMBERS or _is_number(value)})
    return found


def read_curves(entries: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    """Curve → (step, value) by ascending step; of a step that was done twice the later entry counts.

    >>> read_curves([{"current_steps": 1, "loss": 2.5}, {"current_steps": 1, "loss": 2.0}])["loss"]
    [(1, 2.0)]
    """
    curves = {}
    for name, key in _CURVES.items():
        by_step = {entry["current_steps"]: float(entry[key]) for entry in entries if _is_number(entry.get(key))}
        curves[name] = sorted(by_step.items())
    return curves


def read_health_curves(samples: Sequence[Sample]) -> dict[str, Points]:
    """Curve → (step, value) by ascending step: gradients, noise, memory (in GiB) and load; only those that there are.

    >>> read_health_curves([Sample(1, grad_norm=0.5), Sample(2, grad_norm=0.4, rss_bytes=1 << 30)])
    {'grad_norm': [(1, 0.5), (2, 0.4)], 'main_memory': [(2, 1.0)]}
    """
    curves = {}
    for name, (key, unit) in _HEALTH.items():
        by_step = {each.step: getattr(each, key) / unit for each in samples if getattr(each, key) is not None}
        if by_step:
            curves[name] = sorted(by_step.items())
    return curves


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def measure(entries: Sequence[Mapping[str, Any]]) -> Measured:
    """Speed and memory of a whole run, its attempts taken together."""
    attempts = list(_attempts(entries))
    gaps = [gap for timed in attempts for gap in _step_times(timed)]
    tokens = sum(timed[-1][2] - timed[0][2] for timed in attempts)
    seconds = sum(timed[-1][1] - timed[0][1] for timed in attempts)
    return Measured(
        steps_timed=len(gaps),
        step_s=statistics.median(gaps) if gaps else None,
        tokens_per_s=tokens / seconds if tokens > 0 and seconds > 0 else None,
        training_s=seconds,
        peak_allocated_bytes=_peak(entries, "vram_allocated"),
        peak_reserved_bytes=_peak(entries, "vram_reserved"),
    )


Timed = list[tuple[int, float, int]]
"""(step, seconds since the attempt's start, tokens) of an attempt's log entries."""


def _attempts(entries: Sequence[Mapping[str, Any]]) -> Iterator[Timed]:
    """The timed entries of each attempt: in a new one the clock starts again."""
    current: Timed = []
    for entry in entries:
        tokens, rate, step = entry.get("total_tokens"), entry.get("throughput"), entry["current_steps"]
        if not tokens or not rate or entry.get("loss") is None:
            continue
        seconds = tokens / rate
        if current and (seconds < current[-1][1] or step <= current[-1][0]):
            yield current
            current = []
        current.append((step, seconds, tokens))
    if current:
        yield current


def _step_times(timed: Timed) -> Iterator[float]:
    for (before, start_s, _), (after, end_s, _) in itertools.pairwise(timed):
        yield (end_s - start_s) / (after - before)


def _peak(entries: Sequence[Mapping[str, Any]], key: str) -> int | None:
    """The engine logs memory in GiB with two digits; 0 or less on a device that it can't ask."""
    values = [float(entry[key]) for entry in entries if _is_number(entry.get(key))]
    return int(max(values) * GIB) if values and max(values) > 0 else None
