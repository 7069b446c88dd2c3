"""What a verdict says, and how it is kept in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from lfwrap.errors import Finding, Severity
from lfwrap.files import write_json
from lfwrap.run.folder.paths import RunPaths

SCHEMA = "lfwrap.verdict/1"


class VerdictKind(StrEnum):
    """What became of a training."""

    LEARNED = "learned"
    TOO_LITTLE = "too little"
    OVERFITTED = "overfitted"
    DIVERGED = "diverged"
    NOTHING_CHANGED = "nothing changed"
    UNKNOWN = "can't tell"


@dataclass(frozen=True, slots=True)
class RunVerdict:
    """The verdict of a run.

    Attributes:
        kind: what became of the training.
        summary: why, in a sentence or two.
        findings: what is wrong or doubtful, each with its remedy; of severity info what one should only know.
        evidence: the figures: ``losses``, ``evaluation``, ``weights``, ``answers``; null where there are none.
        left_out: what was not looked at, and why.
        seconds: how long it took.
        attempt: the start of the engine after which it was made.
    """

    kind: VerdictKind
    summary: str
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0
    attempt: int = 0

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are more than worth knowing."""
        return tuple(finding for finding in self.findings if finding.severity is not Severity.INFO)

    @property
    def is_clean(self) -> bool:
        """Whether the model has learned, with no doubt left."""
        return self.kind is VerdictKind.LEARNED and not self.warnings

    def to_json(self) -> dict[str, Any]:
        """The verdict as ``verdict.json`` and ``--json`` have it."""
        return {
            "kind": str(self.kind),
            "summary": self.summary,
            "findings": [_finding_json(finding) for finding in self.findings],
            "evidence": dict(self.evidence),
            "left_out": list(self.left_out),
            "seconds": round(self.seconds, 2),
            "attempt": self.attempt,
        }


def _finding_json(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in asdict(finding).items() if key in {"rule", "message", "severity", "hint"}}


def announce_verdict(paths: RunPaths, attempt: int, budget_s: float) -> None:
    """Write down that a verdict is being made, for those who wait for it. Raises OSError."""
    write_json(paths.verdict, {"schema": SCHEMA, "attempt": attempt, "budget_s": budget_s})


def keep_verdict(paths: RunPaths, verdict: RunVerdict) -> None:
    """Write a verdict into the run's folder. Raises OSError."""
    write_json(paths.verdict, {"schema": SCHEMA, **verdict.to_json()})
