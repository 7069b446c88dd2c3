"""What one GPU needs of memory, as a table of terms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MEASURED = "measured on an H100"
MEASURED_ON_TWO = "measured on two H200s"
NOT_MEASURED = "not yet measured here"
SLACK_TERM, CONTEXT_TERM = "allocator slack", "CUDA context"


@dataclass(frozen=True, slots=True)
class MemoryTerm:
    """One row of the table: a size, and where it comes from.

    Attributes:
        name: what takes the memory.
        bytes: its size on one GPU, in the phase with the peak.
        formula: how the size is computed, in words.
        source: the code or documentation that the formula follows.
        holds: under which conditions it holds, and whether it was measured.
        in_peak: whether it is part of peak allocated; the others lie outside the allocator's live tensors.
    """

    name: str
    bytes: int
    formula: str
    source: str
    holds: str = MEASURED
    in_peak: bool = True

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory that one GPU needs.

    Attributes:
        terms: the rows of the table: what is persistent, and what comes on top in the phase with the peak. Those in the
            peak add up to ``peak_allocated_bytes``.
        phase: the phase of a step in which the peak is reached: ``layer``, ``loss``, ``update`` and so on.
        phases: phase → bytes allocated in it at most.
    """

    terms: tuple[MemoryTerm, ...]
    phase: str
    phases: dict[str, int]

    @property
    def peak_allocated_bytes(self) -> int:
        """The largest size of all live tensors together, in bytes, as `torch.cuda.max_memory_allocated` counts it."""
        return sum(term.bytes for term in self.terms if term.in_peak)

    @property
    def device_bytes(self) -> int:
        """Bytes that the GPU must have: the peak, the allocator's slack, the CUDA context and communication buffers."""
        return sum(term.bytes for term in self.terms)

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return {
            "terms": [term.to_json() for term in self.terms],
            "peak_allocated_bytes": self.peak_allocated_bytes,
            "device_bytes": self.device_bytes,
            "moment": self.phase,
            "moments": self.phases,
        }
