"""What has changed since a run was made: versions, hardware, data, model, code, settings, variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.invocation import Invocation
from lfwrap.masking import MASK, is_secret
from lfwrap.recipe.inputs.files import changed_inputs, dataset_entries
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import Run
from lfwrap.run.prepare.environment import describe_environment, hub_commits
from lfwrap.run.prepare.job import Job
from lfwrap.yaml_files import load_yaml

_PLACES = frozenset({"output_dir", "deepspeed", "run_name", "swanlab_run_name", "swanlab_logdir"})
_HARDWARE = ("kind", "driver", "interconnect", "cpu_cores")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that has changed since the run was made.

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
        """The values that ``--json`` prints."""
        return {"kind": self.kind, "what": self.what, "before": self.before, "now": self.now}


def find_differences(run: Run, job: Job, invocation: Invocation) -> Iterator[Difference]:
    """Everything in which a run that would be started now differs from one that was recorded.

    Args:
        run: the recorded run.
        job: what would be started.
        invocation: where.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: the record lacks a file, or it is of another shape.
    """
    before: dict[str, Any] = orjson.loads(run.paths.environment.read_bytes())
    inputs: dict[str, Any] = orjson.loads(run.paths.inputs.read_bytes())
    if job.engine is not None:
        environment = {**invocation.environ, **job.command.environment}
        now = describe_environment(job.engine, job.hardware, environment, invocation.cwd)
        yield from _of_environment(before, now)
        yield from _of_variables(before["variables"], run.paths, now["variables"], job.paths)
    yield from _of_inputs(inputs, job, invocation.cwd)
    yield from _of_settings(run, job)


def _of_environment(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in ("lfwrap", "python"):
        yield from _changed("version", {name: before.get(name)}, {name: now[name]})
    yield from _changed("version", before["versions"], now["versions"])
    yield from _other_packages(before, now)
    yield from _changed("hardware", _hardware_facts(before), _hardware_facts(now))
    yield from _changed("code", _code(before), _code(now))


def _of_variables(
    before: Mapping[str, str], paths: RunPaths, now: Mapping[str, str], new_paths: RunPaths
) -> Iterator[Difference]:
    """Variables that differ otherwise than by the run's own name and folder; an empty one is not an absent one."""
    yield from _changed("variable", _without_place(before, paths), _without_place(now, new_paths))


def _without_place(variables: Mapping[str, str], paths: RunPaths) -> dict[str, str]:
    return {
        name: value.replace(str(paths.root), "RUN").replace(paths.name, "RUN") or "empty"
        for name, value in variables.items()
        if name != RUN_VARIABLE
    }


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
