"""Do a run again as a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from lfwrap.errors import LfwrapError, RunStateError
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import DeviceKind
from lfwrap.invocation import Invocation
from lfwrap.run.again.differences import Difference, find_differences
from lfwrap.run.again.resume import at_its_place
from lfwrap.run.folder.record import Run
from lfwrap.run.launch.launch import load_launch
from lfwrap.run.prepare.job import Job, TrainRequest, preview_job
from lfwrap.yaml_files import load_yaml

_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How a run is done again.

    Attributes:
        run: the first run.
        request: that of the new one.
        invocation: where it is prepared.
        job: what would be started; its findings may forbid it.
        differences: everything that has changed since.
    """

    run: Run
    request: TrainRequest
    invocation: Invocation
    job: Job
    differences: tuple[Difference, ...]


def plan_replay(run: Run, runs_dir: Path, invocation: Invocation) -> ReplayPlan:
    """Find out what would be done again, and what is different now; writes and starts nothing.

    Raises:
        RunStateError: the run's folder lacks what says how it was made, or it needs several machines.
        LfwrapError: the recipe can't be rendered here, such as where an engine or GPUs are missing.
    """
    _require_one_node(run)
    home = at_its_place(run, invocation)
    request = TrainRequest(
        recipe=str(run.paths.recipe),
        runs_dir=(invocation.cwd / runs_dir).resolve(),
        name=run.record.recipe,
        hardware=_hardware(run),
        gpus=_gpus(run),
        launcher=run.record.launcher if run.record.launcher != "process" else "auto",
        launch=load_launch(run.paths),
        evaluates=_evaluates(run),
    )
    job = preview_job(request, home)
    try:
        differences = tuple(find_differences(run, job, home))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunStateError(
            f"{run.paths.name}: its record does not say how it was made: {type(error).__name__}: {error}",
            hint=f"A new run of its recipe: lfwrap train {run.paths.recipe}",
        ) from error
    return ReplayPlan(run, request, home, job, differences)


def _require_one_node(run: Run) -> None:
    if run.record.nodes > 1:
        raise RunStateError(
            f"{run.paths.name}: trained on {run.record.nodes} machines, which lfwrap can't start from one",
            hint=f"On each of them: lfwrap train {run.paths.recipe} --nnodes {run.record.nodes} --node-rank N …",
        )


def _evaluates(run: Run) -> bool:
    """Whether it evaluated; runs of earlier versions did so only where their recipe asked for it."""
    try:
        return bool(load_yaml(run.paths.engine_yaml).values.get("eval_dataset"))
    except (LfwrapError, OSError):
        return False


def _hardware(run: Run) -> str:
    """The machine to replay on: a run that was trained on the CPU stays there, and takes what it was asked to take."""
    if run.record.device != DeviceKind.CPU:
        return "auto"
    return _CPU if load_hardware("auto").gpus or _asked_for(run) == _CPU else "auto"


def _asked_for(run: Run) -> str:
    """The name of the machine that the run was prepared for; empty where its record doesn't say."""
    try:
        return str(orjson.loads(run.paths.environment.read_bytes())["hardware"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _gpus(run: Run) -> int | None:
    """As many processes as it had; on a machine with fewer GPUs all of them, and the effective batch is kept."""
    if run.record.device == DeviceKind.CPU:
        return run.record.world_size
    return run.record.world_size if len(load_hardware("auto").gpus) >= run.record.world_size else None


def require_no_differences(plan: ReplayPlan) -> None:
    """Refuse a replay that differs, as ``--strict`` asks.

    Raises:
        RunStateError: something differs; all of it is named.
    """
    if plan.differences:
        listed = "; ".join(map(str, plan.differences))
        raise RunStateError(
            f"{plan.run.paths.name}: would not be the same run: {listed}",
            hint="Put it back as it was, or leave out --strict.",
        )


def with_origin(run: Run, origin: Run) -> Run:
    """The new run with the one that it repeats in its record; to be saved by the caller."""
    return Run(run.paths, replace(run.record, replay_of=str(origin.paths.root)))
