"""One row of a memory table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MEASURED = "measured on an H100"
MEASURED_ON_TWO = "measured on two H200s"
NOT_MEASURED = "not yet measured here"


@dataclass(frozen=True, slots=True)
class MemoryTerm:
    """One row of the table.

    Attributes:
        name: what it is.
        bytes: its size on one GPU at the widest moment.
        formula: how it comes about.
        source: whose code or documentation says so.
        holds: when it holds, and whether it was measured.
        in_peak: whether it is part of peak allocated; the others lie outside the allocator's live tensors.
    """

    name: str
    bytes: int
    formula: str
    source: str
    holds: str = MEASURED
    in_peak: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return asdict(self)
