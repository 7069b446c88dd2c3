"""The options of an export, without the model and the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lfwrap.export.hub import Push
from lfwrap.inference.parity import DEFAULT_QUESTIONS

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
DEFAULT_SHARD_GB = 5
DEFAULT_GGUF = ("q8_0",)
DEFAULT_GPTQ_BITS = 4


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        dtype: type of the weights, as torch calls it.
        shard_gb: largest file, in GB of 10^9 bytes.
        device: ``cpu`` merges in main memory, ``auto`` on the GPU, through the engine.
        parity: compare what was written with what it was made from.
        questions: what both are asked.
        force: replace an earlier export in the same folder.
        formats: names of `formats.table.FORMATS`.
        gguf: the types of the GGUF files.
        name: of the model, in GGUF files, Ollama and the card; without one, that of the folder.
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
    gguf: tuple[str, ...] = DEFAULT_GGUF
    name: str | None = None
    base_name: str | None = None
    merger: str = "auto"
    gptq_bits: int = DEFAULT_GPTQ_BITS
    calibration: Path | None = None
    evaluation: Path | None = None
    push: Push | None = None

    @property
    def merged_dtype(self) -> str:
        """Type of the merged weights. Those that only GGUF files are made from keep more digits than bf16 has."""
        only_source = "merged" not in self.formats and self.dtype == "bfloat16"
        return "float16" if only_source else self.dtype
