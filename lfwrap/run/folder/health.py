"""How a training fares, update by update, as it lies in the run folder: ``health.jsonl``, of bounded size."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.files import write_text
from lfwrap.run.folder.paths import RunPaths

MOST_LINES = 2000
"""More lines than this are merged in pairs: the file stays below about half a megabyte, however long the run."""
_LONGEST_LINE = 64 << 10
WARNING_EVENT = "warning"
"""The event in ``events.jsonl`` that holds a warning of the training's health."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one line of the engine's log, or several merged ones, say of a training.

    Attributes:
        step: updates done; of merged lines the last.
        total_steps: updates wanted; 0 while unknown.
        loss: mean training loss since the line before; None in lines without one.
        eval_loss: loss on the evaluation data, likewise.
        grad_norm: norm of all gradients at this update, before clipping; of merged lines the largest.
        learning_rate: of this update.
        epoch: passes over the data, fractional.
        level: running median of the loss.
        spread: standard deviation of the loss around its trend, estimated robustly.
        memory_bytes: what live tensors take on the fullest GPU; on a CPU None.
        reserved_bytes: what torch holds of it.
        busy_percent: part of the last moment in which a kernel ran, the mean of the ranks' GPUs.
        rss_bytes: main memory of the training processes of this node.
        cpu_cores: CPU cores that they kept busy.
    """

    step: int
    total_steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    level: float | None = None
    spread: float | None = None
    memory_bytes: int | None = None
    reserved_bytes: int | None = None
    busy_percent: float | None = None
    rss_bytes: int | None = None
    cpu_cores: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values without what is unknown; what is no finite number stands as text, as JSON has none.

        >>> Sample(3, loss=0.5, grad_norm=float("nan")).to_json()
        {'step': 3, 'loss': 0.5, 'grad_norm': 'nan'}
        """
        values = dataclasses.asdict(self)
        return {key: _plain(value) for key, value in values.items() if value is not None and (key, value) != _UNKNOWN}


_UNKNOWN = ("total_steps", 0)
_WHOLE = frozenset({"step", "total_steps", "memory_bytes", "reserved_bytes", "rss_bytes"})
_NAMES = tuple(entry.name for entry in dataclasses.fields(Sample))
_LARGEST = ("grad_norm", "memory_bytes", "reserved_bytes", "rss_bytes")
_MEANS = ("loss", "busy_percent", "cpu_cores")


def _plain(value: float) -> float | str:
    if isinstance(value, int):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)


def to_number(value: Any) -> float | None:
    """A number of a log, also one that stands as text (``'nan'``, ``'0.24'``); None for anything else.

    >>> to_number("0.24"), to_number([1]), to_number(True)
    (0.24, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def parse_sample(line: str) -> Sample | None:
    """A line of a rank's or a run's ``health.jsonl``; None for anything else.

    >>> parse_sample('{"step": 3, "loss": 0.5, "grad_norm": "inf"}')
    Sample(step=3, total_steps=0, loss=0.5, eval_loss=None, grad_norm=inf, learning_rate=None, epoch=None, level=None, \
spread=None, memory_bytes=None, reserved_bytes=None, busy_percent=None, rss_bytes=None, cpu_cores=None)
    """
    if len(line) > _LONGEST_LINE:
        return None
    try:
        entry = json.loads(line)  # takes NaN as Python writes it, which orjson refuses
    except (ValueError, RecursionError):
        return None
    return make_sample(entry) if isinstance(entry, dict) else None


def make_sample(entry: Mapping[str, Any]) -> Sample | None:
    """A sample of plain values; None where they name no step.

    >>> make_sample({"loss": 1.0}) is None
    True
    """
    found: dict[str, Any] = {}
    for name in _NAMES:
        value = to_number(entry.get(name))
        if value is None:
            continue
        if name not in _WHOLE:
            found[name] = value
        elif math.isfinite(value):
            found[name] = int(value)
    return Sample(**found) if found.get("step", -1) >= 0 else None


def merge(samples: Sequence[Sample]) -> Sample:
    """One sample for several neighbours: means of losses and loads, the largest of norms and memory, else the last.

    Args:
        samples: at least one, ascending by step.

    >>> merge([Sample(1, loss=2.0, grad_norm=3.0), Sample(2, loss=1.0, grad_norm=0.5)]).to_json()
    {'step': 2, 'loss': 1.5, 'grad_norm': 3.0}
    """
    merged: dict[str, Any] = {}
    for name in _NAMES:
        values = [value for value in (getattr(each, name) for each in samples) if value is not None]
        if not values:
            continue
        if name in _LARGEST:
            merged[name] = next((value for value in values if math.isnan(value)), max(values))
        else:
            merged[name] = sum(values) / len(values) if name in _MEANS else values[-1]
    return Sample(**merged)


class HealthLog:
    """Writes ``health.jsonl``: a line an entry of the engine's log, later on a line for 2, 4, 8, … of them."""

    def __init__(self, path: Path, most_lines: int = MOST_LINES) -> None:
        """Go on with what an earlier attempt has left."""
        self._path = path
        self._most = most_lines
        self._lines = load_samples(path)
        self._every = 1
        self._waiting: list[Sample] = []

    @property
    def samples(self) -> list[Sample]:
        """The lines there are."""
        return list(self._lines)

    def add(self, sample: Sample) -> None:
        """Take in the next sample; where steps go back, as a resumed run's do, what came later before is left out.

        Raises:
            OSError: the disk may be full.
        """
        if self._lines and sample.step < self._lines[-1].step:
            self._lines = [each for each in self._lines if each.step < sample.step]
            self._waiting = []
            self._rewrite()
        self._waiting.append(sample)
        if len(self._waiting) >= self._every:
            self.flush()

    def flush(self) -> None:
        """Write what waits to be merged with what comes.

        Raises:
            OSError: the disk may be full.
        """
        if not self._waiting:
            return
        merged, self._waiting = merge(self._waiting), []
        self._lines.append(merged)
        if len(self._lines) <= self._most:
            with self._path.open("ab") as sink:
                sink.write(orjson.dumps(merged.to_json(), option=orjson.OPT_APPEND_NEWLINE))
            return
        self._lines = [merge(self._lines[at : at + 2]) for at in range(0, len(self._lines), 2)]
        self._every *= 2
        self._rewrite()

    def _rewrite(self) -> None:
        write_text(self._path, "".join(orjson.dumps(each.to_json()).decode() + "\n" for each in self._lines))


def load_samples(path: Path) -> list[Sample]:
    """The lines of a ``health.jsonl``; what can't be read is passed over, an absent file has none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [sample for sample in map(parse_sample, text.splitlines()) if sample is not None]


def load_warnings(paths: RunPaths) -> list[dict[str, Any]]:
    """The warnings that a run's trainings gave: ``rule``, ``step``, ``seen``, ``message``, ``remedy``, ``figures``.

    Of a warning that a later attempt gave again, the later one counts.
    """
    by_rule: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(OSError):
        for event in _objects(paths.events.read_bytes().splitlines()):
            if event.get("event") == WARNING_EVENT and isinstance(event.get("rule"), str):
                by_rule[event["rule"]] = {key: event[key] for key in event if key not in {"event", "time"}}
    return list(by_rule.values())


def _objects(lines: Iterable[bytes]) -> Iterable[dict[str, Any]]:
    for line in lines:
        if WARNING_EVENT.encode() not in line:
            continue
        with contextlib.suppress(ValueError):
            value = orjson.loads(line)
            if isinstance(value, dict):
                yield value
