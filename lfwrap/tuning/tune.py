"""Measure strategies of a recipe on this machine: short real trainings of the plan's best, the fastest into its lock.

The first is always what ``speed: auto`` chooses by itself, so that the winner is never slower than that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.arguments import free_port
from lfwrap.engine.contract import RUN_VARIABLE, SPEED_VARIABLE, TrialRequest
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.failure import engine_failure
from lfwrap.engine.keys import ACCUMULATION_KEY
from lfwrap.engine.locate import Engine, locate_engine
from lfwrap.errors import EngineError, UsageError
from lfwrap.files import write_json
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import choose_world_size
from lfwrap.invocation import Invocation
from lfwrap.recipe.check import check_recipe, require_valid
from lfwrap.recipe.values import resolve_values
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import utc_now
from lfwrap.run.prepare.job import Job, TrainRequest, load_request, prepare_job
from lfwrap.strategy.candidates import find_candidates
from lfwrap.strategy.lock import LockEntry, LockKey, Trial, choose_lock_path, describe_key, save_entry
from lfwrap.strategy.planning import dataset_folder, find_machine
from lfwrap.tuning.trial_processes import EngineStart, TrialTeam
from lfwrap.tuning.trial_values import (
    choose_winner,
    describe_strategy,
    judge_trials,
    read_trial,
    timed_slots,
    trial_values,
)

_LEAST_S = 20.0  # no trial is begun with less of the budget left
_LOG_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Tuning:
    """The strategies of a recipe that are going to be tried.

    Attributes:
        jobs: the strategies as they would be trained, ``speed: auto``'s own first.
        key: what the measurements will hold for.
        engine: the engine.
        rows: rows of an epoch; None where their number is unknown.
        lock: the file that the result goes to.
    """

    jobs: tuple[Job, ...]
    key: LockKey
    engine: Engine
    rows: int | None
    lock: Path


Listener = Callable[[int, int, str, Trial | None], None]
"""Receives the trial's number, how many there are, its strategy, and its result (None: it begins)."""


def prepare_tuning(request: TrainRequest, invocation: Invocation, count: int) -> Tuning:
    """Find the strategies that are worth a trial, and check everything; starts nothing.

    Raises:
        UsageError: the recipe leaves nothing to choose, or the machine is another one.
        LfwrapError: the recipe can't be trained here.
    """
    if request.hardware not in {"auto", "cpu"}:
        raise UsageError(
            f"--hardware {request.hardware}: trials are made on this machine.",
            hint="Leave --hardware out; lfwrap plan answers for other machines.",
        )
    recipe = load_request(request, invocation)
    engine = locate_engine(invocation.environ)
    facts, hardware = load_engine_facts(engine), load_hardware(request.hardware)
    require_valid(recipe, check_recipe(recipe, facts, hardware))
    world_size = choose_world_size(request.gpus, hardware)
    machine = find_machine(hardware, world_size, engine, dataset_folder(recipe, invocation.cwd), is_here=True)
    strategies = find_candidates(resolve_values(recipe, facts, hardware, world_size), machine, count)
    root = invocation.cwd / "RUN"
    jobs = tuple(prepare_job(request, recipe, root, invocation, strategy) for strategy in strategies)
    jobs[0].report.require_none()
    plan = strategies[0].plan
    key = describe_key(recipe, machine, engine, invocation.cwd)
    lock = choose_lock_path(recipe.path, invocation.environ)
    return Tuning(jobs, key, engine, plan.rows.count if plan else None, lock)


def tune(tuning: Tuning, invocation: Invocation, budget_s: float, listener: Listener) -> LockEntry:
    """Try the strategies one after another until the time is up; the result stands in the lock.

    Raises:
        EngineError: none of them could be trained; with the fault of the first.
        PreflightError: the engine can't be started, or the lock can't be written.
    """
    with tempfile.TemporaryDirectory(prefix="lfwrap-tune-") as scratch:
        course = _Trials(tuning, invocation, Path(scratch), time.monotonic() + budget_s)
        try:
            trials = course.run(listener)
            winner = choose_winner(trials)
            if winner and trials[0].status == "ok":
                trials = course.repeat(trials, winner, listener)
                winner = choose_winner(trials)
        finally:
            course.close()
        if winner is None:
            raise course.failure(trials)
    entry = LockEntry(tuning.key, utc_now(), winner, judge_trials(trials, winner))
    save_entry(tuning.lock, entry)
    return entry


class _Trials:
    """Runs the trials: one team of processes makes one, the next team imports the engine meanwhile."""

    def __init__(self, tuning: Tuning, invocation: Invocation, scratch: Path, deadline_s: float) -> None:
        self._tuning, self._scratch, self._deadline_s = tuning, scratch, deadline_s
        job = tuning.jobs[0]
        added = {
            name: value for name, value in job.command.environment.items() if name not in {RUN_VARIABLE, SPEED_VARIABLE}
        }
        self._size = job.rendered.world_size
        environment = {**invocation.environ, **added}
        self._log = scratch / "engine.log"
        self._start = EngineStart(tuning.engine.python, self._size, environment, invocation.cwd, self._log)
        self._team: TrialTeam | None = None
        self._next: TrialTeam | None = None
        self._longest_s = 0.0

    def run(self, listener: Listener) -> list[Trial]:
        """Make as many trials as there is time for."""
        trials: list[Trial] = []
        count = len(self._tuning.jobs)
        for number, job in enumerate(self._tuning.jobs):
            listener(number, count, describe_strategy(job.strategy), None)
            best_s = min((trial.epoch_s for trial in trials if trial.status == "ok" and trial.epoch_s), default=0.0)
            left_s = self._deadline_s - time.monotonic()
            if trials and left_s < max(_LEAST_S, self._longest_s):
                trial = dataclasses.replace(
                    read_trial(job.strategy, None, None), status="skipped", why="no time was left"
                )
            else:
                trial = self._try(number, job, best_s, is_last=number + 1 == count)
            trials.append(trial)
            listener(number, count, trial.way, trial)
        return trials

    def repeat(self, trials: list[Trial], winner: int, listener: Listener) -> list[Trial]:
        """Once more ``speed: auto``'s own and the fastest, if there is time: another program may have been in the way.

        The better time of each counts.
        """
        again = list(trials)
        count = len(trials)
        for place, number in enumerate((0, winner)):
            if self._deadline_s - time.monotonic() < max(_LEAST_S, self._longest_s):
                break
            job = self._tuning.jobs[number]
            listener(number, count, f"{describe_strategy(job.strategy)}, again", None)
            trial = self._try(count + place, job, 0.0, is_last=bool(place))
            listener(number, count, trial.way, trial)
            if trial.status == "ok" and (trial.epoch_s or 0.0) < (again[number].epoch_s or 0.0):
                again[number] = trial
        return again

    def _try(self, number: int, job: Job, best_s: float, *, is_last: bool) -> Trial:
        began_s = time.monotonic()
        # The first trial has all the time: without it there is nothing to compare with.
        deadline_s = self._deadline_s if number else began_s + 2 * max(60.0, self._deadline_s - began_s)
        team = self._take_team()
        if not team.wait_ready(deadline_s):
            self._drop_team()
            return read_trial(job.strategy, None, None)
        if not team.forks and not is_last:
            self._next = TrialTeam(self._start)
        requests = self._requests(number, job, best_s)
        in_time = team.run(requests, deadline_s)
        if not (team.forks and in_time):
            self._drop_team()
        self._longest_s = max(self._longest_s, time.monotonic() - began_s)
        found = _collect([Path(request["result"]) for request in requests])
        if found is None and not in_time:
            found = {"status": "slower" if best_s else "failed", "error": "no result in time"}
            return dataclasses.replace(read_trial(job.strategy, found, self._tuning.rows), why="no result in time")
        return read_trial(job.strategy, found, self._tuning.rows)

    def _take_team(self) -> TrialTeam:
        if self._team is None:
            self._team = self._next or TrialTeam(self._start)
            self._next = None
        return self._team

    def _drop_team(self) -> None:
        if self._team is not None:
            self._team.close()
        self._team = None

    def close(self) -> None:
        """End every process."""
        for team in (self._team, self._next):
            if team is not None:
                team.close()
        self._team = self._next = None

    def _requests(self, number: int, job: Job, best_s: float) -> list[TrialRequest]:
        """What each process is asked for."""
        folder = self._scratch / str(number)
        folder.mkdir()
        paths = RunPaths(folder)
        values = trial_values(job.rendered.engine, str(paths.output))
        if job.rendered.deepspeed is not None:
            values["deepspeed"] = str(paths.deepspeed)
            write_json(paths.deepspeed, job.rendered.deepspeed)
        accumulation, port = int(job.rendered.engine[ACCUMULATION_KEY]), free_port()
        return [
            {
                "values": values,
                "environment": self._rank_environment(rank, port),
                "extended": job.strategy.extension,
                "compiled": job.rendered.compiled and not job.strategy.extension,
                "accumulation": accumulation,
                "slots": timed_slots(accumulation),
                "best_epoch_s": best_s,
                "result": str(folder / f"result-{rank}.json"),
                "log": str(folder / f"log-{rank}.txt"),
            }
            for rank in range(self._size)
        ]

    def _rank_environment(self, rank: int, port: int) -> Mapping[str, str]:
        if self._size == 1 and self._tuning.jobs[0].rendered.deepspeed is None:
            return {}
        size = str(self._size)
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, **meeting}

    def failure(self, trials: list[Trial]) -> EngineError:
        """Why there is no result: the first strategy's fault, from its log."""
        texts = []
        for path in (self._scratch / "0" / "log-0.txt", self._log):
            with contextlib.suppress(OSError):
                texts.append(path.read_bytes()[-_LOG_BYTES:].decode(errors="replace"))
        error = engine_failure(f"None of the {len(trials)} strategies could be trained", "\n".join(reversed(texts)), 1)
        if trials[0].status == "oom":
            hint = "`lfwrap plan` says what would fit; a smaller cutoff_len or quantization_bit=4 need less."
            return EngineError(f"{error.message} ({trials[0].why})", hint=hint)
        return error


def _collect(results: list[Path]) -> dict[str, Any] | None:
    """One answer from those of all processes: the first's times, the worst status, the most memory."""
    found: list[dict[str, Any]] = []
    for path in results:
        with contextlib.suppress(OSError, ValueError):
            found.append(orjson.loads(path.read_bytes()))
    if not found:
        return None
    worst = next((each for status in ("oom", "failed") for each in found if each["status"] == status), None)
    if worst is not None:
        return worst
    if len(found) < len(results):
        return None
    peaks = {
        key: max((each[key] for each in found if each[key] is not None), default=None)
        for key in ("peak_allocated_bytes", "peak_reserved_bytes")
    }
    return {**found[0], **peaks}
