"""Notice that a training no longer gets anywhere, judged by the ranks' heartbeats and the engine's log."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lfwrap.run.folder.paths import AttemptPaths, RunPaths

DEFAULT_STALL_S = 600.0
"""Longer than any update, evaluation batch or checkpoint that was met; NCCL's own patience is three times this."""
_FACTOR = 20.0
_FIRST_UPDATE_FACTOR = 3.0
_REMEMBERED = 50
_LOOK_EVERY_S = 1.0


class OnStall(StrEnum):
    """What to do about a stall."""

    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class StallPolicy:
    """When a training counts as stalled, and what then.

    Attributes:
        limit_s: seconds without progress; more where the observed pace asks for it. 0 switches the watch off.
        action: warn, or stop the run.
    """

    limit_s: float = DEFAULT_STALL_S
    action: OnStall = OnStall.WARN


@dataclass(frozen=True, slots=True)
class Stall:
    """A training that does not go on.

    Attributes:
        quiet_s: seconds since the last progress.
        step: updates done.
        last_ranks: the ranks that were heard of last the longest ago; empty when all were heard of together.
        stacks: the file with everybody's stacks.
    """

    quiet_s: float
    step: int
    last_ranks: tuple[int, ...]
    stacks: Path

    def __str__(self) -> str:
        """The stall in one sentence."""
        who = f" (rank {', '.join(map(str, self.last_ranks))} fell silent first)" if self.last_ranks else ""
        return f"no progress for {self.quiet_s:.0f} s at step {self.step}{who}; stacks: {self.stacks}"


class StallWatch:
    """Counts the time since something last went on; the start-up, up to the first micro-batch, does not count."""

    def __init__(self, run: RunPaths, attempt: AttemptPaths, limit_s: float) -> None:
        """Watch an attempt that has just been started."""
        self._run = run
        self._attempt = attempt
        self._limit_s = limit_s
        self._gaps_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._active_s: float | None = None
        self._beat_s = 0.0
        self._looked_s = 0.0
        self._told = False
        self.step = 0

    def note_training(self, now_s: float) -> None:
        """The engine says that it trains now."""
        self._active_s = self._active_s or now_s

    def note_step(self, step: int, now_s: float) -> None:
        """The engine's log has a new entry."""
        self.step = max(self.step, step)
        self._went_on(now_s)

    def _went_on(self, now_s: float) -> None:
        if self._active_s is not None:
            self._gaps_s.append(now_s - self._active_s)
        self._active_s = now_s
        self._told = False

    @property
    def allowed_s(self) -> float:
        """Seconds without progress that are still fine: more for slow steps, and for the first one."""
        if not self.step:
            return self._limit_s * _FIRST_UPDATE_FACTOR
        pace_s = statistics.median(self._gaps_s) if self._gaps_s else 0.0
        return max(self._limit_s, _FACTOR * pace_s)

    def check(self, now_s: float) -> float | None:
        """Seconds without progress, once when they become too many; None otherwise.

        Args:
            now_s: `time.monotonic`.
        """
        if not self._limit_s or now_s - self._looked_s < _LOOK_EVERY_S:
            return None
        self._looked_s = now_s
        beat_s = max((time_s for _, time_s in self._beats()), default=0.0)
        if beat_s > self._beat_s:
            self._beat_s = beat_s
            self._went_on(now_s)
        if self._active_s is None or self._told:
            return None
        quiet_s = now_s - self._active_s
        if quiet_s < self.allowed_s or self._is_writing():
            return None
        self._told = True
        return quiet_s

    def _beats(self) -> Iterator[tuple[int, float]]:
        for rank in self._attempt.ranks():
            try:
                yield rank.number, rank.heartbeat.stat().st_mtime
            except OSError:
                continue

    def _is_writing(self) -> bool:
        """Whether a file of the output has grown lately: a large checkpoint takes its time."""
        since_s = time.time() - self._limit_s
        return any(entry.stat().st_mtime > since_s for entry in self._run.output.rglob("*") if entry.is_file())

    def last_ranks(self) -> tuple[int, ...]:
        """The ranks whose last heartbeat is clearly older than the newest one."""
        beats = dict(self._beats())
        newest_s = max(beats.values(), default=0.0)
        return tuple(sorted(rank for rank, time_s in beats.items() if time_s < newest_s - 2 * _LOOK_EVERY_S))
