"""An Ollama model: a Modelfile over GGUF files, and `ollama create` where Ollama is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.errors import EngineError
from lfwrap.export.formats.gguf import gguf_files
from lfwrap.export.job import ExportFormat, ExportJob, ExportOrder
from lfwrap.export.modelfile import ollama_name, write_modelfile

_BINARY = "ollama"
_TIMEOUT_S = 3600.0


def _make(job: ExportJob) -> dict[str, Any]:
    order, files = job.order, job.files()
    kind, path = next(reversed(gguf_files(job).items()))  # the last named is the smallest as a rule
    write_modelfile(
        path.parent, path.name, files, name=order.name, template=order.target.template, model=job.merged().folder
    )
    if not files.ollama_has_tools:
        job.record.notes.append("Ollama's template has no tools: it can't write them as this template does")
    return {"folder": job.relative(path.parent), "from": kind}


def _publish(order: ExportOrder, product: Mapping[str, Any]) -> None:
    modelfile = order.out / product["folder"] / "Modelfile"
    created = create_in_ollama(modelfile, ollama_name(order.name))
    order.say(f"ollama run {created}" if created else f"No Ollama here; where it is: ollama create NAME -f {modelfile}")


def create_in_ollama(modelfile: Path, name: str) -> str | None:
    """Register the model with the local Ollama; returns its name there, or None without Ollama.

    Raises:
        EngineError: ``ollama create`` failed.
    """
    if shutil.which(_BINARY) is None:
        return None
    done = subprocess.run(
        [_BINARY, "create", name, "-f", str(modelfile)],
        cwd=modelfile.parent,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise EngineError(
            f"ollama create {name} failed: {lines[-1] if lines else f'exit code {done.returncode}'}",
            hint="Is the Ollama server running? The Modelfile is written: `ollama create` can be run by hand.",
        )
    return name


FORMAT = ExportFormat("ollama", _make, files_of="gguf", publish=_publish)
