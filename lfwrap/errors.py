"""The exception tree: one exit code for each kind of failure.

::

    LfwrapError               1   any other expected failure
    ├── UsageError            2   the command line
    ├── RecipeError           3   a recipe or another configuration file
    ├── DataError             4   the data
    ├── PlanError             5   nothing fits
    ├── PreflightError        6   engine, GPU, disk or path
    ├── EngineError           7   the child failed
    └── RunStateError         8   a run is locked, running or not resumable

A bug of lfwrap exits 70, an interrupt 130, a termination 143.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Severity(StrEnum):
    """The severity of a finding: an error stops the command, a warning does not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where it is, and what to do about it.

    Attributes:
        rule: the rule's name, stable, in kebab case (``unknown-key``).
        message: what is wrong, without its place.
        severity: how serious it is.
        file: the file, as the user named it.
        line: line in the file, counted from 1; None where it is unknown.
        column: column in the line, counted from 1; None where it is unknown.
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
        """``file:line:column``, as far as they are known; editors and terminals make links of it."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    def __str__(self) -> str:
        """The finding on one line: place, message, remedy."""
        text = f"{self.place}  {self.message}" if self.place else self.message
        return f"{text} {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return asdict(self)


class LfwrapError(Exception):
    """An expected failure: its message says what is wrong and where, its hint says what to do.

    Attributes:
        message: what is wrong, and where.
        hint: the remedy; may be empty.
        findings: the single things that are wrong, where there are several.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.findings = tuple(findings)

    def to_json(self) -> dict[str, Any]:
        """The values of the error that ``--json`` prints."""
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "findings": [finding.to_json() for finding in self.findings],
        }


class UsageError(LfwrapError):
    """The command line is wrong: an unknown option, or values that contradict each other."""

    exit_code = 2


class RecipeError(LfwrapError):
    """A recipe or another configuration file is wrong; the error has all findings at once."""

    exit_code = 3


class DataError(LfwrapError):
    """The data can't be read, or too much of it is unusable."""

    exit_code = 4


class PlanError(LfwrapError):
    """No plan fits the memory of the hardware."""

    exit_code = 5


class PreflightError(LfwrapError):
    """Something that the job needs is missing: engine, GPU, model, disk space, a usable path."""

    exit_code = 6


class EngineError(LfwrapError):
    """The engine, which runs as a child process, failed."""

    exit_code = 7


class RunStateError(LfwrapError):
    """A run is in a state that does not allow what was asked."""

    exit_code = 8


EXIT_BUG = 70
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143
