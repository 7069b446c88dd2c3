"""The policy for the engine as a child: follow it, pass requests to stop on, harder each time, leave nothing behind."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

from lfwrap.engine.child_process import Child, become_subreaper, send, start_child, sweep, training_ranks
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.launch.command import Command

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks lfwrap to stop: ^C, a scheduler, a closed terminal."""


class StopLevel(IntEnum):
    """How hard the engine is being stopped."""

    NONE = 0
    ASKED = 1
    """SIGTERM to the training processes: the engine saves a checkpoint and ends."""
    HURRIED = 2
    """SIGINT to them and SIGTERM to the launcher: they end without a checkpoint."""
    KILLED = 3
    """SIGKILL to every process of the run."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each level may take before the next.

    Attributes:
        checkpoint_s: for the end of the running update and the checkpoint; torch elastic's own 30 s don't bind, as the
            ranks are signalled directly.
        hurry_s: for an end without a checkpoint.
        sweep_s: for what is left after the engine has ended.
        poll_s: between two looks at the child.
    """

    checkpoint_s: float = 300.0
    hurry_s: float = 10.0
    sweep_s: float = 3.0
    poll_s: float = 0.1


@dataclass(slots=True)
class StopRequests:
    """The signals that have asked for a stop, in order; a second one hurries, a third kills.

    Attributes:
        received: the signals.
        demanded: what lfwrap itself has found necessary.
    """

    received: list[int] = field(default_factory=list)
    demanded: StopLevel = StopLevel.NONE

    @property
    def level(self) -> StopLevel:
        """How hard a stop is asked for."""
        return max(self.demanded, StopLevel(min(len(self.received), StopLevel.KILLED)))

    def demand(self, level: StopLevel) -> None:
        """Stop without a signal, as a training that hangs is not worth waiting for."""
        self.demanded = max(self.demanded, level)

    def add(self, number: int, _frame: object = None) -> None:
        """Note a signal; has a signal handler's signature."""
        self.received.append(number)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequests]:
        """Collect `STOP_SIGNALS` instead of being ended by them, for the time of a ``with`` block."""
        before = {number: signal.signal(number, self.add) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class Ending:
    """How the child ended.

    Attributes:
        exit_code: of the engine's first process, negative for a signal.
        stop_signal: the first signal that asked us to stop, or None.
        stop_level: how hard the engine had to be stopped.
        duration_s: from start to end.
        swept: processes that were left when the engine's first process had ended, and were ended too.
        was_demanded: lfwrap itself stopped it.
    """

    exit_code: int
    stop_signal: int | None
    stop_level: StopLevel
    duration_s: float
    swept: tuple[int, ...]
    was_demanded: bool = False

    def to_json(self) -> dict[str, Any]:
        """The ending as ``exit.json`` keeps it."""
        return {**asdict(self), "stop_level": self.stop_level.name.lower()}


def start_training(command: Command, folder: AttemptPaths, environ: Mapping[str, str], *, show_example: bool) -> Child:
    """Start the engine for one node's part of an attempt; orphans among its processes come back to this one.

    Args:
        command: what is started.
        folder: gets stdout and stderr.
        environ: lfwrap's own environment, to which the command adds.
        show_example: keep the training example that the engine prints.

    Raises:
        PreflightError: the command can't be started.
    """
    become_subreaper()
    return start_child(
        command.argv,
        cwd=command.cwd,
        environment={**environ, **command.environment},
        stdout=folder.stdout,
        stderr=folder.stderr,
        show_example=show_example,
    )


class _Stopper:
    """Raises the level when asked, or when the time of a level is over; sends each level's signals once."""

    def __init__(self, child: Child, patience: Patience, announce: Callable[[StopLevel], None]) -> None:
        self._child = child
        self._limits_s = {StopLevel.ASKED: patience.checkpoint_s, StopLevel.HURRIED: patience.hurry_s}
        self._announce = announce
        self._deadline = float("inf")
        self.level = StopLevel.NONE

    def advance(self, asked: StopLevel) -> None:
        """Stop harder where that is asked for, or where the time of the gentler way is over."""
        if self.level is not StopLevel.NONE and time.monotonic() > self._deadline:
            asked = max(asked, StopLevel(self.level + 1))
        if asked <= self.level:
            return
        self.level = asked
        self._deadline = time.monotonic() + self._limits_s.get(asked, float("inf"))
        self._announce(asked)
        self._signal(asked)

    def _signal(self, level: StopLevel) -> None:
        processes = self._child.processes()
        trainers = training_ranks(processes) or [one for one in processes if one.pid == self._child.pid]
        if level is StopLevel.ASKED:
            send(trainers, signal.SIGTERM)
        elif level is StopLevel.HURRIED:
            send(trainers, signal.SIGINT)
            send([one for one in processes if one.pid == self._child.pid and one not in trainers], signal.SIGTERM)
        else:
            send(processes, signal.SIGKILL)


def supervise(
    child: Child,
    requests: StopRequests,
    *,
    on_tick: Callable[[], None] = lambda: None,
    on_stop: Callable[[StopLevel], None] = lambda _: None,
    patience: Patience = Patience(),
) -> Ending:
    """Follow the child to its end; whatever happens here, no process of the run is left afterwards.

    Args:
        child: the running engine.
        requests: requests to stop, filled by signal handlers while this runs.
        on_tick: called at every look at the child; for progress.
        on_stop: called when a level of stopping begins.
        patience: how long each level may take.
    """
    stopper = _Stopper(child, patience, on_stop)
    try:
        while child.poll() is None:
            on_tick()
            stopper.advance(requests.level)
            time.sleep(patience.poll_s)
    finally:
        duration_s = child.age_s()
        swept = sweep(child, grace_s=patience.sweep_s)
        exit_code = child.engine.wait()
        child.close()
    on_tick()
    stop_signal = requests.received[0] if requests.received else None
    was_demanded = requests.demanded is not StopLevel.NONE
    return Ending(exit_code, stop_signal, stopper.level, duration_s, swept, was_demanded)
