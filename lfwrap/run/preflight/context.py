"""What the checks of a preflight look at, and what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.errors import DataError, Finding, LfwrapError, PreflightError, RecipeError, Severity
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.recipe.recipe import Recipe
from lfwrap.units import plural


@dataclass(frozen=True, slots=True)
class PreflightContext:
    """A run that is to be started, as the checks see it.

    Attributes:
        recipe: the recipe, for the places of its keys.
        values: the engine's values as rendered.
        hardware: the machine to train on.
        runs_dir: the folder that will hold the run.
        cwd: the folder that relative paths count from.
        engine: the engine; None only shows what would be run.
        splits_at_spaces: whether the way of starting it breaks on paths with white space.
        world_size: processes.
        is_dry: whether nothing will be started: the machine at hand does not matter then.
        allow_large_on_cpu: whether a large model on a CPU is wanted all the same.
        by_engine: whether the engine's own command starts it, without what lfwrap adds.
        environ: lfwrap's environment.
    """

    recipe: Recipe
    values: Mapping[str, Any]
    hardware: HardwareProfile
    runs_dir: Path
    cwd: Path
    engine: Engine | None = None
    splits_at_spaces: bool = False
    world_size: int = 1
    is_dry: bool = False
    allow_large_on_cpu: bool = False
    by_engine: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, path: str) -> Path:
        """A path of the recipe as the engine will see it."""
        return self.cwd / Path(path).expanduser()

    def finding(self, rule: str, key: str, message: str, hint: str, severity: Severity = Severity.ERROR) -> Finding:
        """A finding at the place of a key of the recipe; without a line when the key was given elsewhere."""
        document = self.recipe.document
        position = document.key_position(key) if key not in self.recipe.overrides else None
        if position is None:
            return Finding(rule, message, severity, hint=hint)
        return Finding(rule, message, severity, document.name, position.line, position.column, hint)


@dataclass(frozen=True, slots=True)
class PreflightReport:
    """What was found, by the exit code it leads to.

    Attributes:
        recipe: in the recipe itself (3).
        data: in the data sets (4).
        machine: engine, model, GPU, disk, paths (6).
    """

    recipe: tuple[Finding, ...] = ()
    data: tuple[Finding, ...] = ()
    machine: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, the recipe's first."""
        return self.recipe + self.data + self.machine

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that do not stop a run."""
        return tuple(finding for finding in self.findings if finding.severity is not Severity.ERROR)

    def require_none(self) -> None:
        """Raise `to_error`, where there is one."""
        error = self.to_error()
        if error is not None:
            raise error

    def to_error(self) -> LfwrapError | None:
        """One error with every finding; its kind is that of the first group with an error. None when nothing stops."""
        groups: Sequence[tuple[type[LfwrapError], tuple[Finding, ...]]] = (
            (RecipeError, self.recipe),
            (DataError, self.data),
            (PreflightError, self.machine),
        )
        errors = [finding for finding in self.findings if finding.severity is Severity.ERROR]
        for kind, findings in groups:
            if any(finding.severity is Severity.ERROR for finding in findings):
                return kind(f"{plural(len(errors), 'error')}; nothing was started.", findings=self.findings)
        return None
