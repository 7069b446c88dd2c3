"""Go on with a run that was interrupted, failed or lost: from its newest whole checkpoint, with the same settings."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.child_process import run_processes
from lfwrap.engine.faults import DIVERGED
from lfwrap.engine.locate import Engine, locate_engine
from lfwrap.engine.versions import installed_versions
from lfwrap.errors import PreflightError, RunStateError
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.invocation import Invocation
from lfwrap.masking import MASK, is_secret
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.recipe.inputs.files import changed_inputs, dataset_entries
from lfwrap.recipe.recipe import Recipe, load_recipe
from lfwrap.run.folder.checkpoints import Checkpoint, find_checkpoints, set_aside, spoilt_from
from lfwrap.run.folder.record import Run, RunState, append_event, save_record
from lfwrap.run.launch.build import build_command
from lfwrap.run.launch.command import override_arguments
from lfwrap.run.launch.launch import LaunchOptions, TrainingStart, load_launch
from lfwrap.run.launch.launchers.base import Launcher
from lfwrap.run.launch.launchers.nodes import Nodes
from lfwrap.run.launch.launchers.registry import choose_launcher
from lfwrap.run.supervise.attempt import Attempt
from lfwrap.units import plural
from lfwrap.yaml_files import load_yaml

_RESUMABLE = frozenset({RunState.FAILED, RunState.INTERRUPTED, RunState.LOST, RunState.PREPARED})


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """How a run goes on.

    Attributes:
        run: the run.
        attempt: the command and its settings.
        checkpoint: where from; None starts at step 0 again, as no whole checkpoint was left.
        broken: checkpoints that are not whole, newest first.
        notes: what the person should know.
        clear: puts broken checkpoints aside; to be called under the run's lock.
    """

    run: Run
    attempt: Attempt
    checkpoint: Checkpoint | None
    broken: tuple[Checkpoint, ...]
    notes: tuple[str, ...]
    clear: Callable[[], None]

    def to_json(self) -> dict[str, Any]:
        """The plan as ``--json`` prints it: the checkpoint, what is left out, and the command."""
        return {
            "path": str(self.run.paths.root),
            "checkpoint": str(self.checkpoint.path) if self.checkpoint else None,
            "broken": [{"path": str(each.path), "problems": list(each.problems)} for each in self.broken],
            "notes": list(self.notes),
            "command": self.attempt.command.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """The options of a resume.

    Attributes:
        gpus: processes, when they were asked for; must be those of the run.
        launcher: ``auto`` keeps the run's own.
        show_example: keep the training example that the engine prints.
        nodes: the machines at this start; None takes them as the run was started.
        take_over: the machine that the record says the run is on is known to be gone.
    """

    gpus: int | None = None
    launcher: str = "auto"
    show_example: bool = False
    nodes: Nodes | None = None
    take_over: bool = False


def plan_resume(run: Run, invocation: Invocation, request: ResumeRequest = ResumeRequest()) -> ResumePlan:
    """Find out whether and from where a run can go on; changes nothing.

    Args:
        run: the run as loaded.
        invocation: where lfwrap was called.
        request: what is asked of the resume.

    Raises:
        RunStateError: it has finished, still runs, or its settings or data are no longer the same.
        PreflightError: the engine or the GPUs it needs are not there.
    """
    run = taken_over(run) if request.take_over else run
    _require_resumable(run)
    invocation = at_its_place(run, invocation)
    values = load_yaml(run.paths.engine_yaml).values
    _require_unchanged(run, values, invocation.cwd, request.gpus)
    kept = load_launch(run.paths)
    options = dataclasses.replace(kept, nodes=request.nodes or kept.nodes)
    checkpoints = _checkpoints_of(run, options.nodes)
    whole = next((checkpoint for checkpoint in checkpoints if checkpoint.is_whole), None)
    broken = tuple(checkpoint for checkpoint in checkpoints if not checkpoint.is_whole)
    engine = locate_engine(invocation.environ)
    launcher = choose_launcher(
        run.record.launcher if request.launcher == "auto" else request.launcher,
        world_size=run.record.world_size,
        uses_deepspeed=bool(values.get("deepspeed")),
        nodes=options.nodes,
    )
    arguments = tuple(override_arguments({"resume_from_checkpoint": whole.path}) if whole else ())
    start = start_of(run, launcher, engine, options, values=values, arguments=arguments)
    attempt = Attempt(build_command(start, invocation), values, invocation.environ, request.show_example)
    notes = (*_divergence_note(run), *_version_notes(run.record.versions, installed_versions(engine)))
    return ResumePlan(run, attempt, whole, broken, notes, lambda: _clear(run, whole, broken))


def start_of(
    run: Run,
    launcher: Launcher,
    engine: Engine,
    options: LaunchOptions,
    *,
    values: Mapping[str, Any] | None = None,
    arguments: tuple[str, ...] = (),
) -> TrainingStart:
    """A further start of a recorded run, on this machine.

    Args:
        run: the run.
        launcher: the way of starting.
        engine: the engine here.
        options: the nodes at this start, and how the run was started.
        values: the engine's values, where this node sees to the trackers.
        arguments: ``key=value`` arguments after the YAML.

    Raises:
        PreflightError: the GPUs it needs are not there.
    """
    record = run.record
    return TrainingStart(
        paths=run.paths,
        launcher=launcher,
        engine=engine,
        hardware=hardware_of(run),
        world_size=record.world_size,
        batch=BatchPlan(record.micro_batch_size, record.gradient_accumulation_steps, record.world_size),
        options=options,
        values=values or {},
        arguments=arguments,
    )


def taken_over(run: Run) -> Run:
    """The run as lost when its supervisor was on another machine, which the caller knows to be gone."""
    supervisor = run.record.supervisor
    if run.record.state is not RunState.RUNNING or supervisor is None or supervisor.host == os.uname().nodename:
        return run
    reason = f"Its machine, {supervisor.host}, is gone."
    return Run(run.paths, dataclasses.replace(run.record, state=RunState.LOST, reason=reason, supervisor=None))


def _checkpoints_of(run: Run, nodes: Nodes) -> list[Checkpoint]:
    """The checkpoints, newest first; those of an elastic run are whole when they are so for one of its world sizes."""
    record = run.record
    sizes = [record.world_size // nodes.count * count for count in nodes.counts()] if nodes.is_elastic else []
    every = [
        find_checkpoints(run.paths, world_size=size, finetuning_type=record.finetuning_type)
        for size in sizes or [record.world_size]
    ]
    found = [next((one for one in same if one.is_whole), same[-1]) for same in zip(*every, strict=True)]
    spoilt = spoilt_from(run.paths, record.attempt)
    if spoilt is None:
        return found
    problem = f"the loss or its gradient was no finite number from update {spoilt} on"
    return [dataclasses.replace(one, problems=(*one.problems, problem)) if one.step >= spoilt else one for one in found]


def hardware_of(run: Run) -> HardwareProfile:
    """This machine, without its GPUs when the run was trained on the CPU.

    Raises:
        PreflightError: it has fewer GPUs than the run was trained on.
    """
    here = load_hardware("auto")
    if run.record.device != DeviceKind.CPU:
        wanted = run.record.world_size // run.record.nodes
        if len(here.gpus) < wanted and run.record.launcher != "ray":
            raise PreflightError(
                f"{run.paths.name}: trained on {plural(wanted, 'GPU')}, {len(here.gpus)} can be seen",
                hint="Resume where as many are free: another number changes the batch and breaks the checkpoint. Or"
                f" start a new run{_from_here(run)}",
            )
        return here
    if not here.gpus:
        return here
    return dataclasses.replace(here, name="cpu", kind=DeviceKind.CPU, gpus=())


def at_its_place(run: Run, invocation: Invocation) -> Invocation:
    """The invocation with the folder that the run was started in, from which its relative paths count."""
    try:
        cwd = Path(str(orjson.loads(run.paths.environment.read_bytes())["cwd"]))
    except (OSError, ValueError, KeyError, TypeError):
        return invocation
    return dataclasses.replace(invocation, cwd=cwd) if cwd.is_dir() else invocation


def require_same_recipe(run: Run, recipe: Recipe) -> None:
    """Require that a recipe, with its overrides, is the one that the run was made from.

    Raises:
        RunStateError: it is another; every key that differs is named.
    """
    before, now = load_recipe(run.paths.recipe, environ={}).resolved, recipe.resolved
    differences = recipe_differences(before, now)
    if differences:
        raise RunStateError(
            f"{run.paths.name}: can't go on, as it would not be the same run: {'; '.join(differences)}",
            hint=f"Resume it without a recipe and values, or start a new run{_from_here(run)}",
        )


def recipe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two resolved recipes, or two engine configurations: ``key: it was … and is …``."""
    return [
        f"{key}: it was {_shown(key, before)} and is {_shown(key, now)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _shown(key: str, values: Mapping[str, Any]) -> str:
    if values.get(key) is None:
        return "not set"
    return MASK if is_secret(key) else str(values[key])


def _from_here(run: Run) -> str:
    """How a changed run takes over what has been learnt so far; nothing where there is no adapter to take."""
    if run.record.finetuning_type != "lora" or not run.paths.checkpoints():
        return f": lfwrap train {run.paths.recipe}"
    return f" from its weights: lfwrap train {run.paths.recipe} --continue-from-adapter {run.paths.root}"


def _require_resumable(run: Run) -> None:
    state = run.record.state
    if state not in _RESUMABLE:
        hint = {
            RunState.SUCCEEDED: "It has finished; `lfwrap chat` and `lfwrap export` take it as it is.",
            RunState.RUNNING: "Wait for it, or stop it with `lfwrap runs stop`.",
        }[state]
        raise RunStateError(f"{run.paths.name}: a {state} run can't be resumed", hint=hint)
    left = run_processes(str(run.paths.root))
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise RunStateError(
            f"{run.paths.name}: processes of its last attempt still run: {pids}",
            hint="They may be saving a checkpoint: wait, or end them with `lfwrap runs stop`.",
        )


def _require_unchanged(run: Run, values: Mapping[str, Any], cwd: Path, gpus: int | None) -> None:
    """The engine can't go on with another world size, batch or data (LF#3321): every difference is named."""
    differences = []
    if gpus is not None and gpus != run.record.world_size:
        differences.append(f"--gpus {gpus}, but the run has {plural(run.record.world_size, 'process', 'processes')}")
    try:
        inputs = orjson.loads(run.paths.inputs.read_bytes())
        differences += changed_inputs(inputs["files"])
        if inputs["datasets"] != dataset_entries(values, cwd):
            differences.append("the data sets are registered otherwise in dataset_info.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunStateError(f"{run.paths.inputs}: can't be read: {error}", hint="Start a new run.") from error
    if differences:
        raise RunStateError(
            f"{run.paths.name}: can't go on, as it would not be the same run: {'; '.join(differences)}",
            hint=f"Put it back as it was, or start a new run{_from_here(run)}",
        )


def _divergence_note(run: Run) -> tuple[str, ...]:
    """A resumed run does what it did before: one that diverged does so again."""
    try:
        rule = orjson.loads(run.paths.attempt(run.record.attempt).exit.read_bytes())["diagnosis"]["rule"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    if rule not in DIVERGED:
        return ()
    return (f"The last start was stopped by {rule}; the same settings lead there again: a new run can have others.",)


def _version_notes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} was {before.get(name, 'absent')} and is {now.get(name, 'absent')} now: the curve may differ."
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    )


def _clear(run: Run, whole: Checkpoint | None, broken: tuple[Checkpoint, ...]) -> None:
    number = run.record.attempt + 1
    if run.record.state is RunState.LOST:
        append_event(run.paths, "state", before=RunState.RUNNING, state=RunState.LOST, reason=run.record.reason)
        save_record(run.paths, run.record)
    for checkpoint in broken:
        moved = set_aside(run.paths, checkpoint, number)
        append_event(run.paths, "checkpoint-set-aside", path=str(moved), problems=checkpoint.problems)
    if whole is None and run.paths.output.is_dir():
        # A result without a checkpoint makes the engine stop: its folder must be new again.
        target = run.paths.set_aside(number) / run.paths.output.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(run.paths.output, target)
    step = whole.step if whole else 0
    append_event(run.paths, "resume", step=step, checkpoint=str(whole.path) if whole else None)
