"""The result of an export: the model card and ``export.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.export.formats.adapter import name_base
from lfwrap.export.job import ExportJob
from lfwrap.export.model_card import render_card
from lfwrap.files import write_json, write_text
from lfwrap.inference.parity import ParityReport
from lfwrap.inference.target import Target
from lfwrap.run.folder.record import utc_now

NOTE = "export.json"
_CARD = "README.md"
_WEIGHTS = frozenset({".safetensors", ".gguf", ".bin"})


@dataclass(frozen=True, slots=True)
class Export:
    """What an export has written.

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


def write_result(job: ExportJob, parity: ParityReport | None, comparisons: dict[str, Any]) -> Export:
    """Write the model card and ``export.json`` beside what was made.

    Args:
        job: the export, every format made.
        parity: the comparison of the merged model.
        comparisons: the other comparisons, as they stand in ``export.json``.

    Raises:
        PreflightError: the disk is full.
    """
    order, record = job.order, job.record
    template = job.files().chat_template
    compared = [] if order.options.parity else ["the weights were not compared (`--no-parity`)"]
    card = render_card(
        order,
        job.stage,
        base=name_base(order.target, order.options.base_name),
        products=record.products,
        parity=[*record.summary, *compared, template.summary()],
        notes=record.notes,
    )
    write_text(job.stage / _CARD, card)
    paths = [path for path in job.stage.rglob("*") if path.is_file()]
    details = {
        "name": order.name,
        "formats": record.products,
        "chat_template": template.to_json(),
        "comparisons": comparisons,
        "summary": record.summary,
        "timing": record.timing_so_far(),
    }
    export = Export(
        order.out,
        order.target,
        order.options.merged_dtype,
        sum(path.stat().st_size for path in paths if path.suffix in _WEIGHTS),
        tuple(sorted({str(path.relative_to(job.stage)) for path in paths} | {NOTE})),
        parity,
        tuple(record.notes),
        record.merge_seconds,
        details,
    )
    write_json(job.stage / NOTE, {"schema": "lfwrap.export/1", **export.to_json()})
    return export
