"""The models under test: a base and what was tuned on it, each under a short name, grouped by what one load serves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.errors import RunStateError, UsageError
from lfwrap.files import canonical_json
from lfwrap.inference.target import Target, TargetKind, resolve_target
from lfwrap.model.folder import ModelFolder
from lfwrap.run.folder.record import DEFAULT_RUNS_DIR, Run, load_run

BASE = "base"
_NAMED = re.compile(r"^(?P<name>[^=/\\]+)=(?P<path>.+)$")
_RUN_NAME = re.compile(r"^\d{8}T\d{6}Z-(?P<recipe>.+)-[0-9a-f]{8}(?:-\d+)?$")
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class ModelUnderTest:
    """A model that is compared or evaluated.

    Attributes:
        name: what it is called in the report.
        target: what answers; without an adapter it is a base or a whole model.
    """

    name: str
    target: Target

    @property
    def file_stem(self) -> str:
        """The name as the beginning of file names."""
        return _UNSAFE.sub("-", self.name).strip("-.") or "model"

    def fingerprint(self, engine_version: str) -> dict[str, Any]:
        """What its results depend on, for the header of what is kept of them."""
        return {
            "engine": engine_version,
            "load": self.target.engine_arguments(),
            "adapter": str(self.target.adapter) if self.target.adapter else None,
            "weights": weights_fingerprint(self.target),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for reports."""
        return {**self.target.to_json(), "name": self.name, "path": self.target.name}


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """The user's options for all targets; see `resolve_target`.

    Attributes:
        runs_dir: where runs are looked for by name.
        base_model: use this base instead of those that the adapters name.
        template: use this template instead of those of the trainings.
    """

    runs_dir: Path = DEFAULT_RUNS_DIR
    base_model: str | None = None
    template: str | None = None


def split_name(text: str) -> tuple[str | None, str]:
    """``NAME=PATH`` as its parts; a text that is itself an existing path has no name.

    >>> split_name("law=runs/law/output"), split_name("runs/law")
    (('law', 'runs/law/output'), (None, 'runs/law'))
    """
    match = _NAMED.match(text)
    if match is None or Path(text).exists():
        return None, text
    return match["name"].strip(), match["path"]


def resolve_candidates(texts: Sequence[str], facts: EngineFacts, options: TargetOptions) -> list[ModelUnderTest]:
    """The targets that the user typed, in that order, each with a different name.

    Raises:
        UsageError: two have the same name or become the same file, or the template of one is not known.
        RunStateError, PreflightError: as `resolve_target` does.
    """
    named = [split_name(text) for text in texts]
    targets = [
        resolve_target(path, facts, runs_dir=options.runs_dir, base_model=options.base_model, template=options.template)
        for _, path in named
    ]
    names = [name or "" for name, _ in named]
    for index, short in _short_names([(index, targets[index]) for index, name in enumerate(names) if not name]):
        names[index] = short
    candidates = [ModelUnderTest(name, target) for name, target in zip(names, targets, strict=True)]
    require_distinct(candidates)
    return candidates


def require_distinct(candidates: Iterable[ModelUnderTest]) -> None:
    """Raise UsageError where two have the same name or the same file."""
    taken: dict[str, ModelUnderTest] = {}
    for candidate in candidates:
        other = taken.setdefault(candidate.file_stem.casefold(), candidate)
        if other is not candidate:
            raise UsageError(
                f"{candidate.target.name}: is called {candidate.name}, as {other.target.name} is {other.name}",
                hint=f"Give it another name: NAME={candidate.target.name}.",
            )


def with_base(candidates: Sequence[ModelUnderTest]) -> list[ModelUnderTest]:
    """The candidates, in front of them each base that one was tuned on and that is not among them itself."""
    bases: dict[bytes, Target] = {}
    for candidate in candidates:
        if candidate.target.adapter is not None:
            base = _base_of(candidate.target)
            bases.setdefault(load_key(base), base)
    for candidate in candidates:
        if candidate.target.adapter is None:
            bases.pop(load_key(candidate.target), None)
    return [*_named_bases(list(bases.values())), *candidates]


def _base_of(target: Target) -> Target:
    kind = TargetKind.MODEL
    return replace(target, name=target.model, kind=kind, adapter=None, prior_adapters=(), run=None, stated_base=None)


def _named_bases(bases: Sequence[Target]) -> Iterator[ModelUnderTest]:
    for base in bases:
        model = Path(base.model).name
        same = sum(Path(other.model).name == model for other in bases) > 1
        how = f" {base.template}{'-' + str(base.quantization['quantization_bit']) + 'bit' if base.quantization else ''}"
        yield ModelUnderTest(BASE if len(bases) == 1 else f"{BASE} {model}{how if same else ''}", base)


def load_key(target: Target) -> bytes:
    """What tells one load of a model from another: model, template and all that shapes both.

    An adapter that no other can stand beside is loaded alone.
    """
    adapter = target.adapter_folder
    alone = str(adapter.path) if adapter and adapter.changes_the_base() else None
    return canonical_json([target.engine_arguments(), alone])


def group_by_load(candidates: Sequence[ModelUnderTest]) -> list[list[ModelUnderTest]]:
    """Those that one load can serve, together."""
    groups: dict[bytes, list[ModelUnderTest]] = {}
    for candidate in candidates:
        groups.setdefault(load_key(candidate.target), []).append(candidate)
    return list(groups.values())


def weights_fingerprint(target: Target) -> list[list[Any]]:
    """Name, size and time of the files of the weights: others mean other answers. Empty for a model on a hub."""
    return (target.adapter_folder or ModelFolder(Path(target.model))).identity()


def _short_names(targets: Sequence[tuple[int, Target]]) -> Iterator[tuple[int, str]]:
    """The shortest end of each path that no other target shares; ``output`` says nothing and is passed over.

    A run is called by its recipe where no other run of that recipe is there.
    """
    recipes = {index: _recipe_of(target) for index, target in targets}
    parts = {index: _name_parts(target) for index, target in targets}
    for index, path in parts.items():
        if recipes[index] and list(recipes.values()).count(recipes[index]) == 1:
            yield index, recipes[index]
            continue
        names = ("/".join(path[-count:]) for count in range(1, len(path) + 1))
        others = [other for key, other in parts.items() if key != index]
        yield (
            index,
            next(
                (name for name in names if not any("/".join(other).endswith(name) for other in others)), "/".join(path)
            ),
        )


def _recipe_of(target: Target) -> str:
    """The recipe's part of a run's name; empty for anything else."""
    match = _RUN_NAME.match(target.run or "") if target.kind is TargetKind.RUN else None
    return match["recipe"] if match else ""


def _name_parts(target: Target) -> list[str]:
    path = Path(target.run) if target.run and not Path(target.name).is_dir() else Path(target.name).expanduser()
    if path.is_dir():
        path = path.resolve()
    return [part for part in path.parts if part not in {"/", "output", "runs"}] or [str(path)]


def run_of(target: Target, runs_dir: Path) -> Run | None:
    """The run that a target came from; None where it came from none, or that is gone."""
    if target.run is None:
        return None
    inside = next(
        (parent for parent in (target.adapter or Path(target.model)).parents if parent.name == target.run), None
    )
    try:
        return load_run(inside or target.run, runs_dir)
    except RunStateError:
        return None
