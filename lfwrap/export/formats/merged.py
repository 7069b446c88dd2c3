"""The merged model as safetensors, with a Modelfile for Ollama beside it."""

from __future__ import annotations

from typing import Any

from lfwrap.export.job import ExportFormat, ExportJob
from lfwrap.export.modelfile import write_modelfile
from lfwrap.inference.parity import ParityComparison, Side, exported_side, require_parity
from lfwrap.model.folder import ModelFolder


def _make(job: ExportJob) -> dict[str, Any]:
    merged, order = job.merged(), job.order
    size = ModelFolder(merged.folder).weight_bytes()
    write_modelfile(
        merged.folder, ".", job.files(), name=order.name, template=order.target.template, model=merged.folder
    )
    return {"folder": job.relative(merged.folder), "weights_bytes": size, "merged_by": merged.by}


def _side(job: ExportJob, _: bool) -> Side:
    return exported_side(job.order.target, str(job.merged().folder))


def _judge(job: ExportJob, comparison: ParityComparison) -> None:
    report = comparison.reports["merged"]
    require_parity(report)
    job.record.summary.append(f"merged: {report.summary()}")


FORMAT = ExportFormat("merged", _make, side=_side, judge=_judge)
