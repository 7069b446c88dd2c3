"""The training losses of runs: the ends of one curve, and two curves compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.run.folder.monitor import Progress, parse_progress
from lfwrap.units import plural

_END_BYTES = 16 << 10


def read_ends(trainer_log: Path) -> tuple[Progress, Progress] | None:
    """The first and the last entry with a training loss; None when there is none, or no log yet.

    Only the log's first and last 16 KiB are looked at: a list of hundreds of long runs takes no time.
    """
    try:
        with trainer_log.open("rb") as source:
            head = source.read(_END_BYTES)
            size_bytes = source.seek(0, 2)
            source.seek(max(0, size_bytes - _END_BYTES))
            tail = source.read(_END_BYTES)
    except OSError:
        return None
    first = next(iter(_losses(head.splitlines())), None)
    last = next(iter(_losses(reversed(tail.splitlines()))), None)
    return (first, last) if first is not None and last is not None else None


def _losses(lines: Iterable[bytes]) -> Iterable[Progress]:
    for line in lines:
        entry = parse_progress(line.decode("utf-8", errors="replace"))
        if entry is not None and entry.loss is not None:
            yield entry


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
        rest = ""
        if self.missing:
            stand = "stands" if self.missing == 1 else "stand"
            rest = f"; {plural(self.missing, 'step')} {stand} in only one of the logs"
        if self.first_step is None:
            return f"losses: the same in all {self.steps} steps (difference 0.0){rest}"
        return f"losses: differ from step {self.first_step} on, by {self.largest:.3g} at most over {self.steps}{rest}"

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
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
