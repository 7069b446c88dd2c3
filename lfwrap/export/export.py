"""Export: checked before, staged, compared, and only then given its name.

Each format has a module of its own (`merge`, `adapter_only`, `gguf`, `ollama`, `gptq`); `export_work` says in which
order, `export_checks` what must be there before.
"""

from __future__ import annotations

from pathlib import Path

from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError
from lfwrap.export.checks import check_formats, check_out, check_space, publish, staged
from lfwrap.export.formats.ollama import create_in_ollama, ollama_name
from lfwrap.export.hub import push_folder
from lfwrap.export.job import ExportOrder, ExportWork, Say
from lfwrap.export.merge_check import check_merge
from lfwrap.export.options import DTYPES, FORMATS, Export, ExportOptions
from lfwrap.inference.target import Target, check_base

__all__ = ["DTYPES", "FORMATS", "Export", "ExportOptions", "export_model"]


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
    notes = check_merge(target)
    check_out(out, force=options.force)
    tools = check_formats(engine, target, options)
    check_space(target, out, options)
    for note in notes:
        say(note)
    with staged(out) as scratch:
        work = ExportWork(ExportOrder(engine, target, out, options, say, tools, notes), scratch)
        export = work.run()
        publish(work.stage, out, scratch)
    _after(engine, export, options, say)
    return export


def _after(engine: Engine, export: Export, options: ExportOptions, say: Say) -> None:
    """Ollama and the hub get what stands under its name; when they refuse, the export still stands. EngineError."""
    if "ollama" in options.formats:
        folder = next(item["folder"] for item in export.details["formats"] if item["format"] == "ollama")
        modelfile = export.out / folder / "Modelfile"
        created = create_in_ollama(modelfile, ollama_name(options.name or export.out.name))
        say(f"ollama run {created}" if created else f"Ollama is not here: `ollama create NAME -f {modelfile}` there")
    if options.push is not None:
        say(f"uploading to {options.push.repository}, {'private' if options.push.private else 'public'}")
        try:
            say(push_folder(engine, export.out, options.push))
        except EngineError as error:
            raise EngineError(f"{export.out} stands, but was not uploaded: {error.message}", hint=error.hint) from error
