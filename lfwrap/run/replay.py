"""Do a run again as a new one: what differs from the first time, and whether the losses came out the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import RunStateError
from lfwrap.hardware.profile import DeviceKind, load_hardware
from lfwrap.run.command import MASK, is_secret
from lfwrap.run.environment import changed_inputs, dataset_entries, describe_environment, hub_commits
from lfwrap.run.job import Job, Surroundings, TrainRequest
from lfwrap.run.launch import load_launch
from lfwrap.run.monitor import Progress
from lfwrap.run.process import MARKER
from lfwrap.run.record import Run
from lfwrap.run.resume import at_its_place
from lfwrap.run.start import preview_job
from lfwrap.yamlio import load_yaml

_PLACES = frozenset({"output_dir", "deepspeed", "run_name", "swanlab_run_name", "swanlab_logdir"})
_HARDWARE = ("kind", "driver", "interconnect", "cpu_cores")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was when the run was made.

    Attributes:
        kind: ``version``, ``hardware``, ``data``, ``model``, ``code``, ``setting`` or ``variable``.
        what: its name.
        before: as it was.
        now: as it is.
    """

    kind: str
    what: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}: was {self.before or 'absent'}, is {self.now or 'absent'}"

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "what": self.what, "before": self.before, "now": self.now}


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How a run is done again.

    Attributes:
        run: the first run.
        request: that of the new one.
        surroundings: where it is prepared.
        job: what would be started; its findings may forbid it.
        differences: everything that is not as it was.
    """

    run: Run
    request: TrainRequest
    surroundings: Surroundings
    job: Job
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class LossComparison:
    """Two runs' training losses, step by step.

    Attributes:
        steps: steps that both logged.
        missing: steps that only one of them logged.
        largest: the largest difference of a step's two losses; 0.0 without common steps.
        first_step: the first step whose losses differ; None when none do.
    """

    steps: int
    missing: int
    largest: float
    first_step: int | None

    @property
    def is_same(self) -> bool:
        """Whether both logged the same steps with the same losses, digit by digit."""
        return self.steps > 0 and not self.missing and self.first_step is None

    def __str__(self) -> str:
        if not self.steps:
            return "losses: none to compare"
        rest = f"; {self.missing} steps stand in only one of the logs" if self.missing else ""
        if self.first_step is None:
            return f"losses: the same in all {self.steps} steps (difference 0.0){rest}"
        return f"losses: differ from step {self.first_step} on, by {self.largest:.3g} at most over {self.steps}{rest}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "steps": self.steps,
            "missing": self.missing,
            "largest_difference": self.largest,
            "first_differing_step": self.first_step,
            "is_same": self.is_same,
        }


def compare_losses(before: Sequence[Progress], now: Sequence[Progress]) -> LossComparison:
    """Compare what two runs logged of their training loss."""
    first, second = ({entry.step: entry.loss for entry in history} for history in (before, now))
    common = sorted(first.keys() & second.keys())
    gaps = {step: abs((first[step] or 0.0) - (second[step] or 0.0)) for step in common}
    differing = [step for step, gap in gaps.items() if gap > 0.0 or gap != gap]  # noqa: PLR0124 - nan is no equality
    return LossComparison(
        steps=len(common),
        missing=len(first.keys() ^ second.keys()),
        largest=max(gaps.values(), default=0.0),
        first_step=differing[0] if differing else None,
    )


def plan_replay(run: Run, runs_dir: Path, surroundings: Surroundings) -> ReplayPlan:
    """Find out what would be done again, and what is different now; writes and starts nothing.

    Raises:
        RunStateError: the run's folder lacks what says how it was made, or it needs several machines.
        LfwrapError: the recipe can't be rendered here, such as for want of an engine or of GPUs.
    """
    _require_one_node(run)
    home = at_its_place(run, surroundings)
    request = TrainRequest(
        recipe=str(run.paths.recipe),
        runs_dir=(surroundings.cwd / runs_dir).resolve(),
        name=run.record.recipe,
        hardware=_hardware(run),
        gpus=_gpus(run),
        launcher=run.record.launcher if run.record.launcher != "process" else "auto",
        launch=load_launch(run.paths),
    )
    job = preview_job(request, home)
    try:
        differences = tuple(_differences(run, job, home))
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


def _hardware(run: Run) -> str:
    """A run of the CPU stays there."""
    return "cpu" if run.record.device == DeviceKind.CPU and load_hardware("auto").gpus else "auto"


def _gpus(run: Run) -> int | None:
    """As many processes as it had; on a machine with fewer GPUs all of them, and the effective batch is kept."""
    if run.record.device == DeviceKind.CPU:
        return run.record.world_size
    return run.record.world_size if len(load_hardware("auto").gpus) >= run.record.world_size else None


def _differences(run: Run, job: Job, surroundings: Surroundings) -> Iterator[Difference]:
    before: dict[str, Any] = orjson.loads(run.paths.environment.read_bytes())
    inputs: dict[str, Any] = orjson.loads(run.paths.inputs.read_bytes())
    if job.engine is not None:
        environment = {**surroundings.environ, **job.command.environment}
        now = describe_environment(job.engine, job.hardware, environment, surroundings.cwd)
        yield from _of_environment(before, now)
    yield from _of_inputs(inputs, job, surroundings.cwd)
    yield from _of_settings(run, job)


def _of_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in ("lfwrap", "python"):
        yield from _changed("version", {name: before.get(name)}, {name: now[name]})
    yield from _changed("version", before["versions"], now["versions"])
    yield from _other_packages(before, now)
    yield from _changed("hardware", _hardware_facts(before), _hardware_facts(now))
    yield from _changed("code", _code(before), _code(now))
    variables = [{k: v for k, v in each["variables"].items() if k != MARKER} for each in (before, now)]
    yield from _changed("variable", *variables)


def _other_packages(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Packages besides the main ones, all in one line."""
    if "packages" not in before:
        return
    old, new = before["packages"], now["packages"]
    main = {name.lower() for name in before["versions"]}
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    others = [name for name in names if name.lower() not in main]
    if others:
        sides = [", ".join(f"{name} {each.get(name, 'absent')}" for name in others) for each in (old, new)]
        yield Difference("version", "of other packages", sides[0], sides[1])


def _hardware_facts(environment: Mapping[str, Any]) -> dict[str, str]:
    hardware = environment["hardware"]
    gpus = [str(gpu["name"]) for gpu in hardware.get("gpus", ())]
    return {"GPUs": ", ".join(gpus), **{key: str(hardware.get(key) or "") for key in _HARDWARE}}


def _code(environment: Mapping[str, Any]) -> dict[str, str]:
    git = environment.get("git")
    return {"git commit": f"{git['commit']}{' with changes' if git['is_dirty'] else ''}" if git else ""}


def _of_inputs(inputs: Mapping[str, Any], job: Job, cwd: Path) -> Iterator[Difference]:
    kinds = {"dataset": "data", "model": "model", "adapter": "model"}
    for what, entry in inputs["files"].items():
        kind = next((kind for prefix, kind in kinds.items() if what.startswith(prefix)), None)
        if kind is not None:
            for text in changed_inputs({what: entry}):
                yield Difference(kind, what, "as recorded", text.removeprefix(f"{what}: "))
    registered = dataset_entries(job.rendered.engine, cwd)
    if registered != inputs["datasets"]:
        yield Difference("data", "dataset_info.json", str(inputs["datasets"]), str(registered))
    commits = hub_commits(job.rendered.engine, cwd)
    if "hub_commit" in inputs:
        yield from _changed("model", {"hub commit": inputs["hub_commit"]}, {"hub commit": commits.get("hub_commit")})


def _of_settings(run: Run, job: Job) -> Iterator[Difference]:
    before = load_yaml(run.paths.engine_yaml).values
    settings = [{k: v for k, v in each.items() if k not in _PLACES} for each in (before, job.rendered.engine)]
    yield from _changed("setting", *settings)
    deepspeed = orjson.loads(run.paths.deepspeed.read_bytes()) if run.paths.deepspeed.is_file() else None
    if deepspeed != job.rendered.deepspeed:
        yield from _changed("setting", _flat(deepspeed), _flat(job.rendered.deepspeed))


def _flat(value: Any, prefix: str = "deepspeed") -> dict[str, Any]:
    """Nested keys joined by dots."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {key: item for name, inner in value.items() for key, item in _flat(inner, f"{prefix}.{name}").items()}


def _changed(kind: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            yield Difference(kind, name, _shown(name, old), _shown(name, new))


def _shown(name: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    return MASK if is_secret(name) else str(value)


def require_no_differences(plan: ReplayPlan) -> None:
    """For ``--strict``.

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
