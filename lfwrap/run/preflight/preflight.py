"""The findings of a preflight, and the one error that carries them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lfwrap.errors import DataError, Finding, LfwrapError, PreflightError, RecipeError, Severity
from lfwrap.units import plural


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
