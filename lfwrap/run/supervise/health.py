"""Watch over a training's health: each line of its log is recorded with its noise, and what is wrong is said once."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from lfwrap.engine.diagnose import Diagnosis
from lfwrap.engine.faults import (
    DIVERGED,
    MEMORISED,
    NO_GRADIENT,
    NOT_FINITE,
    SPIKE,
    STUCK,
    WARNINGS,
    ZERO_RATE,
)
from lfwrap.run.folder.health import WARNING_EVENT, HealthLog, Sample
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import append_event
from lfwrap.run.supervise.health_rules import (
    GROUPED_BEFORE,
    LEVEL_WINDOW,
    NOISE_WINDOW,
    AlwaysZero,
    Finding,
    NearZero,
    NotFinite,
    Spike,
    Stuck,
    spread_of,
)


class OnDivergence(StrEnum):
    """What to do about a training that diverges."""

    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class HealthWarning:
    """Something that is wrong with a training that goes on.

    Attributes:
        rule: its name, stable, as in docs/reference/diagnoses.md.
        step: updates done when it was noticed.
        seen: what shows it, with the figures.
        figures: these as plain values.
    """

    rule: str
    step: int
    seen: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """What has happened, with the update and the figures."""
        return f"{WARNINGS[self.rule][0]} At update {self.step}: {self.seen}."

    @property
    def remedy(self) -> str:
        """What to change, in words."""
        return WARNINGS[self.rule][1]

    @property
    def diagnosis(self) -> Diagnosis:
        """The warning as the reason for which a run was stopped."""
        return Diagnosis(self.rule, self.message, self.remedy, self.seen)

    def to_json(self) -> dict[str, Any]:
        """The warning as ``events.jsonl`` keeps it."""
        return {
            "rule": self.rule,
            "step": self.step,
            "seen": self.seen,
            "message": self.message,
            "remedy": self.remedy,
            "figures": {key: _finite(value) for key, value in self.figures.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HealthWarning | None:
        """A warning of ``events.jsonl``; None where a later version knows a rule that this one does not."""
        rule, step = value.get("rule"), value.get("step")
        if rule not in WARNINGS or not isinstance(step, int):
            return None
        return cls(str(rule), step, str(value.get("seen", "")), dict(value.get("figures") or {}))

    def __str__(self) -> str:
        return f"{self.message} {self.remedy} ({self.rule})"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


class _Rule(Protocol):
    def check(self, sample: Sample) -> Finding | None: ...


# The optimizer steps while gradients are made and leaves none, and logs a learning rate that says nothing.
_LAYERWISE = ("galore_layerwise", "apollo_layerwise")


def make_rules(values: Mapping[str, Any], copies: Callable[[], float | None]) -> list[tuple[str, _Rule]]:
    """The rules that can judge a training with these values; those for losses of tokens judge no other stage.

    Args:
        values: the engine's values.
        copies: which part of the training rows are copies of others; None where that is not known.
    """
    is_scaled = bool(values.get("fp16"))
    rules: list[tuple[str, _Rule]] = [(NOT_FINITE, NotFinite(is_scaled))]
    if not any(values.get(key) for key in _LAYERWISE):
        rules.append((ZERO_RATE, AlwaysZero("learning_rate", "the learning rate", is_scaled)))
        if not values.get("deepspeed"):
            rules.append((NO_GRADIENT, AlwaysZero("grad_norm", "the norm of the gradients", is_scaled)))
    stage = values.get("stage") or "sft"
    if stage not in {"sft", "pt"}:
        return rules
    if not (values.get("disable_shuffling") or values.get("streaming")):  # else the file's order shows in the loss
        rules.append((SPIKE, _make_spike(values)))
    rules.append((MEMORISED, NearZero(copies)))
    if stage == "sft" and not values.get("adapter_name_or_path"):
        rate = values.get("learning_rate")
        rules.append((STUCK, Stuck(float(rate) if isinstance(rate, int | float) else None)))
    return rules


def _make_spike(values: Mapping[str, Any]) -> Spike:
    """Rows sorted by length within 50 batches make the loss rise and fall with them: two such rounds are compared."""
    is_grouped = values.get("train_sampling_strategy") == "group_by_length" or values.get("group_by_length")
    return Spike(GROUPED_BEFORE, GROUPED_BEFORE) if is_grouped else Spike()


class HealthWatch:
    """Looks at one line of the log after the other; what one rule has said once, it says no more."""

    def __init__(self, values: Mapping[str, Any], copies: Callable[[], float | None] = lambda: None) -> None:
        """Know nothing of the training yet but its values (see `make_rules`)."""
        self._values, self._copies = values, copies
        self.told: dict[str, HealthWarning] = {}
        self.restart(())

    def restart(self, samples: Iterable[Sample]) -> None:
        """Begin with these lines, as a resumed training goes back to its checkpoint; nothing is said of them."""
        self._rules = make_rules(self._values, self._copies)
        self._losses: deque[float] = deque(maxlen=NOISE_WINDOW)
        self._is_spoilt = False
        for sample in samples:
            self._check(self.measure(sample))

    def measure(self, sample: Sample) -> Sample:
        """The sample with the running median of the loss and its spread."""
        if sample.loss is None or not math.isfinite(sample.loss):
            return sample
        self._losses.append(sample.loss)
        level = statistics.median(list(self._losses)[-LEVEL_WINDOW:])
        return dataclasses.replace(sample, level=level, spread=spread_of(self._losses))

    def note(self, sample: Sample) -> list[HealthWarning]:
        """What is newly wrong as of this line."""
        found = [warning for warning in self._check(sample) if warning.rule not in self.told]
        self.told |= {warning.rule: warning for warning in found}
        return found

    def _check(self, sample: Sample) -> list[HealthWarning]:
        found: list[HealthWarning] = []
        for name, rule in self._rules:
            if self._is_spoilt or (name in self.told and name != NOT_FINITE):
                continue
            seen = rule.check(sample)
            if seen is not None:
                self._is_spoilt = name == NOT_FINITE
                found.append(HealthWarning(name, sample.step, *seen))
        return found


class HealthRecorder:
    """Keeps ``health.jsonl`` and the events of a run, and says what is newly wrong."""

    def __init__(self, run: RunPaths, watch: HealthWatch) -> None:
        """Go on with what earlier attempts have left."""
        self._run = run
        self._watch = watch
        self._log = HealthLog(run.health)
        self._last = 0
        self._is_new = True

    @property
    def warnings(self) -> list[HealthWarning]:
        """The warnings of this attempt, in the order in which they came."""
        return list(self._watch.told.values())

    @property
    def divergence(self) -> HealthWarning | None:
        """The first warning of this attempt that the training diverges."""
        return next((each for each in self._watch.told.values() if each.rule in DIVERGED), None)

    def take(self, sample: Sample) -> list[HealthWarning]:
        """Record one line; the warnings that it brings stand in the run's events by then."""
        if self._is_new or sample.step < self._last:
            self._is_new = False
            self._watch.restart(each for each in self._log.samples if each.step < sample.step)
        self._last = sample.step
        sample = self._watch.measure(sample)
        with contextlib.suppress(OSError):  # the disk may be full: the training's own troubles are said elsewhere
            self._log.add(sample)
        warnings = self._watch.note(sample)
        with contextlib.suppress(OSError):
            for warning in warnings:
                append_event(self._run, WARNING_EVENT, **warning.to_json())
        return warnings

    def close(self) -> None:
        """Write what waits to be written."""
        with contextlib.suppress(OSError):
            self._log.flush()
