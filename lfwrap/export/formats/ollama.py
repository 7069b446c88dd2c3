"""An Ollama model: a Modelfile with the training's template, and `ollama create` where Ollama is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap import __version__
from lfwrap.errors import EngineError
from lfwrap.export.files import ExportFiles
from lfwrap.files import write_text
from lfwrap.model.folder import read_json_object
from lfwrap.recipe.jinja_templates import render_template

_BINARY = "ollama"
_TIMEOUT_S = 3600.0
_DEFAULT_CONTEXT_TOKENS = 4096
_MAX_CONTEXT_TOKENS = 32_768
# Hugging Face's name → Ollama's.
_SAMPLING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty",
    "min_p": "min_p",
}  # fmt: skip
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


def write_modelfile(folder: Path, source: str, files: ExportFiles, *, name: str, template: str, model: Path) -> Path:
    """Write ``folder/Modelfile``.

    Args:
        folder: where it goes.
        source: what it is made from, relative to it: a GGUF file, or ``.`` for safetensors.
        files: template, stop words and system prompt of the training.
        name: the model's name.
        template: the engine's name of the template.
        model: the exported model's folder, whose configs state sampling and context.
    """
    text = render_template(
        "Modelfile.j2",
        title=name,
        version=__version__,
        source=source if source.startswith(("/", ".")) else f"./{source}",
        template=template,
        text=files.ollama_template,
        system=files.default_system,
        stop_words=[word.replace('"', '\\"') for word in files.stop_words],
        parameters=_parameters(model),
    )
    path = folder / "Modelfile"
    write_text(path, text)
    return path


def _parameters(model: Path) -> dict[str, Any]:
    """Context and sampling as the model's configs state them."""
    config = _load(model / "config.json")
    stated = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    context = min(int(stated or _DEFAULT_CONTEXT_TOKENS), _MAX_CONTEXT_TOKENS)
    generation = _load(model / "generation_config.json")
    sampling = {
        ours: generation[theirs]
        for theirs, ours in _SAMPLING.items()
        if isinstance(generation.get(theirs), int | float) and generation.get("do_sample")
    }
    return {"num_ctx": context, **sampling}


def _load(path: Path) -> Mapping[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def ollama_name(name: str) -> str:
    """A name that Ollama takes."""
    return _UNSAFE.sub("-", name.lower()).strip("-.") or "model"


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
            hint="Is the Ollama server running? The Modelfile stands; `ollama create` can be run by hand.",
        )
    return name
