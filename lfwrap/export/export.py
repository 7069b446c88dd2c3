"""Export: checked before, staged, compared, and only then given its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError
from lfwrap.export.checks import check_formats, check_out, check_space, publish, staged
from lfwrap.export.files import FilesJob
from lfwrap.export.formats.gguf import parse_kinds
from lfwrap.export.formats.table import chosen_formats, written_formats
from lfwrap.export.hub import Push, push_folder
from lfwrap.export.job import ExportJob, ExportOrder, ExportRecord, Say
from lfwrap.export.merge_check import check_merge
from lfwrap.export.options import DEFAULT_GGUF, DTYPES, ExportOptions
from lfwrap.export.parity_check import check_parity, early_reference
from lfwrap.export.result import Export, write_result
from lfwrap.inference.parity import ParityReport
from lfwrap.inference.target import Target, check_base
from lfwrap.verdict.weights import unchanged_reason

__all__ = ["DEFAULT_GGUF", "DTYPES", "Export", "ExportOptions", "Push", "export_model", "parse_kinds"]


def export_model(engine: Engine, target: Target, out: Path, options: ExportOptions, say: Say) -> Export:
    """Write ``target`` into ``out`` in the formats asked for.

    Nothing appears under that name before everything, the comparisons included, has succeeded.

    Raises:
        PreflightError: the adapter does not belong to the base, a part or a tool is missing, or the disk is too small.
        UsageError: ``out`` holds something.
        RunStateError: another lfwrap process exports into it.
        EngineError: the engine failed, or a result does not answer as the adapter does.
    """
    out = out.expanduser().resolve()
    check_base(target)
    notes = (*_unchanged(engine, target), *check_merge(target))
    check_out(out, force=options.force)
    check_formats(engine, target, options)
    check_space(target, out, options)
    for note in notes:
        say(note)
    order = ExportOrder(engine, target, out, options, written_formats(options)[0].name, say, notes)
    with staged(out) as scratch:
        job, export = _make(order, scratch)
        publish(job.stage, out, scratch)
    _after(order, export)
    return export


def _unchanged(engine: Engine, target: Target) -> tuple[str, ...]:
    """What to say of an adapter that changes nothing: the export is its base."""
    reason = unchanged_reason(engine, target.adapter) if target.adapter else ""
    if not reason:
        return ()
    return (
        f"what is exported answers as the base model does, word for word: {reason}. `lfwrap runs verdict` says why",
    )


def _make(order: ExportOrder, scratch: Path) -> tuple[ExportJob, Export]:
    """Make every format, compare, and write what is to be known of it."""
    record = ExportRecord(list(order.notes))
    parity: ParityReport | None = None
    comparisons: dict[str, Any] = {}
    with early_reference(order) as early:
        # Tokenizer and template take the engine's start of some seconds: meanwhile the weights are merged.
        with FilesJob(order.engine, order.target, scratch / "files") as files_job:
            job = ExportJob(order, record, scratch, files_job)
            for one in chosen_formats(order.options):
                product = one.make(job)
                record.products.append({"format": one.name, **product})
        with record.timed("comparison_s"):
            if order.options.parity:
                parity, comparisons = check_parity(job, written_formats(order.options), early)
    return job, write_result(job, parity, comparisons)


def _after(order: ExportOrder, export: Export) -> None:
    """Ollama and the hub get what stands under its name; when they refuse, the export still stands. EngineError."""
    products: Mapping[str, Mapping[str, Any]] = {item["format"]: item for item in export.details["formats"]}
    for one in chosen_formats(order.options):
        if one.publish:
            one.publish(order, products[one.name])
    push = order.options.push
    if push is not None:
        order.say(f"uploading to {push.repository}, {'private' if push.private else 'public'}")
        try:
            order.say(push_folder(order.engine, export.out, push))
        except EngineError as error:
            raise EngineError(
                f"{export.out} is complete, but was not uploaded: {error.message}", hint=error.hint
            ) from error
