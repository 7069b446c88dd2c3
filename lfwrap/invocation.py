"""Where, with which environment and when lfwrap was called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of lfwrap, as far as a run depends on it.

    Attributes:
        cwd: the folder that relative paths count from.
        environ: lfwrap's environment variables.
        now: the time, for the run's name.
    """

    cwd: Path
    environ: Mapping[str, str]
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
