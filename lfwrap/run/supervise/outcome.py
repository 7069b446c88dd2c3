"""The outcome of an attempt: judged by the steps done and the files left, not from the exit code alone.

With its checkpoint on SIGTERM the engine exits 0 and leaves ``all_results.json`` like a finished run.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from lfwrap.engine.diagnose import Diagnosis, from_rule, read_tail
from lfwrap.engine.faults import CONSEQUENCES, CRASHED, KILLED, OTHERS, STALLED, UNKNOWN
from lfwrap.engine.keys import DEFAULT_METHOD, METHOD_KEY
from lfwrap.hardware.host_facts import is_disk_full
from lfwrap.model.folder import trained_folder
from lfwrap.run.folder.monitor import FileTail, load_history, parse_progress
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.folder.rank_logs import diagnose_attempt, relevant_logs
from lfwrap.run.folder.record import RunState
from lfwrap.run.supervise.health import HealthWarning
from lfwrap.run.supervise.stall import Stall
from lfwrap.run.supervise.supervisor import Ending
from lfwrap.units import plural

_ASKED_TO_STOP = re.compile(r"SIGTERM received")
_SOFT_SIGNALS = frozenset({-signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt.

    Attributes:
        state: succeeded, failed or interrupted.
        reason: why it is not succeeded; for a success something worth knowing, or empty.
        global_step: updates done.
        max_steps: updates wanted; 0 when unknown.
        first_loss: the first training loss of the run.
        last_loss: the last one.
        diagnosis: of a failure.
    """

    state: RunState
    reason: str
    global_step: int
    max_steps: int
    first_loss: float | None
    last_loss: float | None
    diagnosis: Diagnosis | None = None


def read_steps(paths: RunPaths, since_s: float = 0.0) -> tuple[int, int]:
    """(updates done, updates wanted) by the trainer's state, where it was written after ``since_s``, and by its log."""
    steps = [
        (entry.step, entry.total_steps)
        for entry in map(parse_progress, FileTail(paths.trainer_log).read_lines())
        if entry is not None
    ]
    done, wanted = steps[-1] if steps else (0, 0)
    try:
        if paths.trainer_state.stat().st_mtime >= since_s:
            state = orjson.loads(paths.trainer_state.read_bytes())
            return max(done, int(state["global_step"])), int(state["max_steps"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return done, wanted


@dataclass(frozen=True, slots=True)
class Watched:
    """What was seen of an attempt from outside while it ran.

    Attributes:
        since_s: when it began, seconds since 1970; older state files do not count.
        stalls: the stalls that were noticed.
        oom_kills: processes that the kernel killed meanwhile, as memory was short.
        divergence: the warning for which it was stopped.
    """

    since_s: float
    stalls: Sequence[Stall] = ()
    oom_kills: int = 0
    divergence: HealthWarning | None = None


def judge(
    paths: RunPaths, attempt: AttemptPaths, ending: Ending, values: Mapping[str, Any], watched: Watched
) -> Outcome:
    """Say how an attempt came out.

    Args:
        paths: the run.
        attempt: the attempt that has ended.
        ending: how the engine ended.
        values: the engine's values.
        watched: what was seen of it while it ran.
    """
    done, wanted = read_steps(paths, watched.since_s)
    history = load_history(paths.trainer_log)
    losses = (history[0].loss, history[-1].loss) if history else (None, None)
    if _is_whole(paths, values, done, wanted):
        note = f"The engine ended with exit code {ending.exit_code} after the last step." if ending.exit_code else ""
        return Outcome(RunState.SUCCEEDED, note, done, wanted, *losses)
    progress = f"at step {done} of {wanted}" if wanted else "before the first step"
    state, reason, diagnosis = _decide(attempt, ending, values, progress, watched)
    if diagnosis is not None:
        diagnosis = _correct(diagnosis, paths, watched.oom_kills)
        reason = diagnosis.message
    return Outcome(state, reason, done, wanted, *losses, diagnosis)


def _decide(
    attempt: AttemptPaths, ending: Ending, values: Mapping[str, Any], progress: str, watched: Watched
) -> tuple[RunState, str, Diagnosis | None]:
    if ending.stop_signal is not None:
        return RunState.INTERRUPTED, f"Stopped by {signal.Signals(ending.stop_signal).name} {progress}.", None
    if ending.was_demanded and watched.stalls:
        return RunState.FAILED, "", Diagnosis(STALLED, *OTHERS[STALLED], evidence=str(watched.stalls[-1]))
    if ending.was_demanded and watched.divergence is not None:
        return RunState.FAILED, "", watched.divergence.diagnosis
    logs = relevant_logs(attempt)
    if ending.exit_code in _SOFT_SIGNALS or any(_ASKED_TO_STOP.search(read_tail(log)) for log in logs):
        return RunState.INTERRUPTED, f"Something other than lfwrap stopped the engine {progress}.", None
    if ending.exit_code == 0 and (not values.get("do_train") or values.get("early_stopping_steps")):
        return RunState.SUCCEEDED, f"Stopped early {progress}." if values.get("do_train") else "", None
    return RunState.FAILED, "", diagnose_attempt(attempt, ending.exit_code)


def _correct(diagnosis: Diagnosis, paths: RunPaths, oom_kills: int) -> Diagnosis:
    """What the host knows better than the logs, where these name no cause: on a full disk they end too early."""
    if diagnosis.rule in {UNKNOWN, KILLED, CRASHED} and is_disk_full(paths.root):
        return from_rule("disk-full", f"There is no room left on the disk of {paths.root}.")
    if oom_kills > 0 and diagnosis.rule in CONSEQUENCES | {UNKNOWN, KILLED}:
        return from_rule("host-out-of-memory", f"The kernel killed {plural(oom_kills, 'process', 'processes')}.")
    return diagnosis


def _is_whole(paths: RunPaths, values: Mapping[str, Any], done: int, wanted: int) -> bool:
    """Every step is done and the result is written down."""
    result = trained_folder(paths.output, values.get(METHOD_KEY, DEFAULT_METHOD))
    return 0 < wanted <= done and not result.weight_problems()
