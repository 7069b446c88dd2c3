"""Follow one start of the engine to its end: progress to the listener, stalls noticed, stops passed on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lfwrap.engine.child_process import Child
from lfwrap.run.folder.health import Sample
from lfwrap.run.folder.health_feed import PrintedJoiner, RankFeed
from lfwrap.run.folder.monitor import TRAINING, Progress, RunMonitor
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.folder.record import append_event
from lfwrap.run.supervise.health import HealthRecorder, HealthWarning, OnDivergence
from lfwrap.run.supervise.stacks import describe_processes
from lfwrap.run.supervise.stall import OnStall, Stall, StallPolicy, StallWatch
from lfwrap.run.supervise.supervisor import Ending, Patience, StopLevel, StopRequests, supervise

_LOOK_EVERY_S = 0.25
"""Between two looks at the logs; the child itself and requests to stop are looked at more often."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The receiver of a run's progress.

    Attributes:
        on_phase: called with what the engine is doing now.
        on_progress: called with every entry of the engine's log.
        on_stop: called when a level of stopping begins.
        on_stall: called when the training no longer goes on.
        on_warning: called when something is wrong with what is learned.
        on_tick: called at every look at the child.
    """

    on_phase: Callable[[str], None] = lambda _: None
    on_progress: Callable[[Progress], None] = lambda _: None
    on_stop: Callable[[StopLevel], None] = lambda _: None
    on_stall: Callable[[Stall], None] = lambda _: None
    on_warning: Callable[[HealthWarning], None] = lambda _: None
    on_tick: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Watches:
    """What is watched for while the engine runs.

    Attributes:
        stall: when the training counts as stalled, and what then.
        health: records how the training fares, and says what is wrong with it.
        on_divergence: what to do about a training that diverges.
    """

    stall: StallPolicy
    health: HealthRecorder
    on_divergence: OnDivergence = OnDivergence.WARN


class Follower:
    """Looks at a running engine again and again, and tells the listener and the run's events what is new."""

    def __init__(self, run: RunPaths, attempt: AttemptPaths, listener: Listener, watches: Watches) -> None:
        """Follow ``attempt`` from its start."""
        self._run = run
        self._attempt = attempt
        self._listener = listener
        self._policy = watches.stall
        self._health, self._on_divergence = watches.health, watches.on_divergence
        self._ranks, self._printed = RankFeed(attempt), PrintedJoiner()
        self._monitor = RunMonitor(run, attempt, on_line=self._printed.add_line)
        self._watch = StallWatch(run, attempt, watches.stall.limit_s)
        self._looked_s = float("-inf")
        self.stalls: list[Stall] = []

    @property
    def phase(self) -> str:
        """What the engine was doing last."""
        return self._monitor.phase

    @property
    def warnings(self) -> list[HealthWarning]:
        """What was wrong with what is learned, in the order in which it was noticed."""
        return self._health.warnings

    @property
    def divergence(self) -> HealthWarning | None:
        """Why this attempt was stopped as one that diverges; None where it was not."""
        return self._health.divergence if self._on_divergence is OnDivergence.STOP else None

    def follow(self, child: Child, requests: StopRequests, patience: Patience) -> Ending:
        """Look until the child has ended; no process of the run is left then."""
        self._listener.on_phase(self._monitor.phase)
        ending = supervise(
            child,
            requests,
            on_tick=lambda: self._look(child, requests),
            on_stop=lambda level: self._tell_stop(level, requests),
            patience=patience,
        )
        if not self._ranks.is_there:
            self._note_health(self._printed.take(is_over=True), requests)
        self._health.close()
        return ending

    def _look(self, child: Child, requests: StopRequests) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S and child.poll() is None:
            return
        self._looked_s = now_s
        for news in self._monitor.poll():
            if isinstance(news, Progress):
                self._watch.note_step(news.step, now_s)
                self._printed.add_entry(news)
                self._listener.on_progress(news)
            else:
                self._listener.on_phase(news)
        self._note_health(self._ranks.read() if self._ranks.is_there else self._printed.take(), requests)
        if self._monitor.phase == TRAINING:
            self._watch.note_training(now_s)
            quiet_s = self._watch.check(now_s)
            if quiet_s is not None and child.poll() is None:
                self._handle_stall(quiet_s, child, requests)
        self._listener.on_tick()

    def _note_health(self, samples: Iterable[Sample], requests: StopRequests) -> None:
        for sample in samples:
            for warning in self._health.take(sample):
                self._listener.on_warning(warning)
        if self._health.divergence is not None and self._on_divergence is OnDivergence.STOP:
            requests.demand(StopLevel.ASKED)

    def _handle_stall(self, quiet_s: float, child: Child, requests: StopRequests) -> None:
        path = self._attempt.stall(len(self.stalls))
        stall = Stall(quiet_s, self._watch.step, self._watch.last_ranks(), path)
        with contextlib.suppress(OSError):
            path.write_text(f"{stall}\n{describe_processes(child.processes(), self._attempt)}", encoding="utf-8")
            append_event(
                self._run,
                "stall",
                action=self._policy.action,
                quiet_s=round(quiet_s, 1),
                step=stall.step,
                last_ranks=stall.last_ranks,
                stacks=str(path),
            )
        self.stalls.append(stall)
        self._listener.on_stall(stall)
        if self._policy.action is OnStall.STOP:
            requests.demand(StopLevel.HURRIED)

    def _tell_stop(self, level: StopLevel, requests: StopRequests) -> None:
        with contextlib.suppress(OSError):  # the disk may be full
            append_event(self._run, "stop", level=level.name.lower(), signals=requests.received)
        self._listener.on_stop(level)
