"""What an export is asked for, and what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.export.formats.gguf import DEFAULT_KINDS
from lfwrap.export.formats.gptq import DEFAULT_BITS
from lfwrap.export.hub import Push
from lfwrap.inference.parity import DEFAULT_QUESTIONS, ParityReport
from lfwrap.inference.target import Target
from lfwrap.run.folder.record import utc_now

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
FORMATS = ("merged", "adapter", "gptq", "awq", "gguf", "ollama")
"""In the order in which one takes the folder itself; the others then lie in folders of their own names."""
DEFAULT_SHARD_GB = 5
NOTE = "export.json"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes:
        dtype: type of the weights, as torch calls it.
        shard_gb: largest file, in GB of 10^9 bytes.
        device: ``cpu`` merges in main memory, ``auto`` on the GPU.
        parity: compare what was written with what it was made from.
        questions: what both are asked.
        force: replace an earlier export in the same folder.
        formats: which of `FORMATS`.
        gguf: the types of the GGUF files.
        name: of the model, in GGUF files, Ollama and the card; the folder's without one.
        base_name: of the base, for others.
        merger: ``auto``, or ``engine`` to merge through the engine's own export.
        gptq_bits: of the GPTQ weights.
        calibration: text that GPTQ is calibrated on.
        evaluation: a report of `lfwrap eval` for the model card.
        push: where to upload it; None keeps it here.
    """

    dtype: str = "bfloat16"
    shard_gb: int = DEFAULT_SHARD_GB
    device: str = "cpu"
    parity: bool = True
    questions: Sequence[str] = DEFAULT_QUESTIONS
    force: bool = False
    formats: tuple[str, ...] = ("merged",)
    gguf: tuple[str, ...] = DEFAULT_KINDS
    name: str | None = None
    base_name: str | None = None
    merger: str = "auto"
    gptq_bits: int = DEFAULT_BITS
    calibration: Path | None = None
    evaluation: Path | None = None
    push: Push | None = None

    @property
    def wants_gguf(self) -> bool:
        """Whether GGUF files are made; Ollama's model is one."""
        return "gguf" in self.formats or "ollama" in self.formats


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        out: the folder.
        target: what it was made from.
        dtype: type of the merged weights, also where they were only made to make others from.
        weights_bytes: size of all weight files.
        files: names of everything in the folder.
        parity: the comparison of the merged model; None when it was not asked for.
        notes: what one should know about this export.
        seconds: how long the merge took; 0 where nothing was merged.
        details: what else stands in ``export.json``: products, chat template, the other comparisons.
    """

    out: Path
    target: Target
    dtype: str
    weights_bytes: int
    files: tuple[str, ...]
    parity: ParityReport | None
    notes: tuple[str, ...]
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The export as it stands in ``export.json``."""
        return {
            "out": str(self.out),
            "created_at": utc_now(),
            "source": self.target.to_json(),
            "template": self.target.template,
            "dtype": self.dtype,
            "weights_bytes": self.weights_bytes,
            "files": list(self.files),
            "parity": self.parity.to_json() if self.parity else None,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 1),
            **self.details,
        }
