"""The exception tree: one exit code for each kind of failure.

::

    LfwrapError               1   anything else that was foreseen
    ├── UsageError            2   the command line
    ├── RecipeError           3   a recipe or another configuration file
    ├── DataError             4   the data
    ├── PlanError             5   nothing fits
    ├── PreflightError        6   engine, GPU, disk or path
    ├── EngineError           7   the child failed
    └── RunStateError         8   a run is locked, running or not resumable

A bug of ours exits 70, an interrupt 130, a termination 143.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Severity(StrEnum):
    """How much a finding weighs: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what to do about it.

    Attributes:
        rule: the rule's name, stable, in kebab case (``unknown-key``).
        message: what is wrong, without the place.
        severity: whether it stops the command.
        file: the file, as the user named it.
        line: 1-based line, or None where there is none.
        column: 1-based column, or None.
        hint: the remedy, a sentence.
    """

    rule: str
    message: str
    severity: Severity = Severity.ERROR
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str = ""

    @property
    def place(self) -> str:
        """``file:line:column`` as far as they are known; editors and terminals make links of it."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        """One line: place, message, remedy."""
        text = f"{self.place}  {self.message}" if self.place else self.message
        return f"{text} {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)


class LfwrapError(Exception):
    """A failure that was foreseen: its message says what is wrong and where, its hint what to do.

    Attributes:
        message: what is wrong, and where.
        hint: the remedy; may be empty.
        findings: every single thing found, where there are several.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)

    def to_json(self) -> dict[str, Any]:
        """The error as ``--json`` prints it."""
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "findings": [finding.to_json() for finding in self.findings],
        }


class UsageError(LfwrapError):
    """The command line makes no sense."""

    exit_code = 2


class RecipeError(LfwrapError):
    """A recipe or another configuration file is wrong; carries all findings at once."""

    exit_code = 3


class DataError(LfwrapError):
    """The data can't be read, or too much of it is unusable."""

    exit_code = 4


class PlanError(LfwrapError):
    """No plan fits the hardware."""

    exit_code = 5


class PreflightError(LfwrapError):
    """Something the job needs is missing: engine, GPU, model, disk space, a usable path."""

    exit_code = 6


class EngineError(LfwrapError):
    """The engine, run as a child, failed."""

    exit_code = 7


class RunStateError(LfwrapError):
    """A run is in a state that does not allow what was asked."""

    exit_code = 8


EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
