"""An Ollama Modelfile: template, stop words, system prompt and sampling of a model, beside its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap import __version__
from lfwrap.bundled import render_template
from lfwrap.export.files import ExportFiles
from lfwrap.files import write_text
from lfwrap.model.folder import ModelFolder, read_json_object

_DEFAULT_CONTEXT_TOKENS = 4096
_MAX_CONTEXT_TOKENS = 32_768
# Hugging Face's name → Ollama's.
_SAMPLING = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "repetition_penalty": "repeat_penalty",
    "min_p": "min_p",
}  # fmt: skip
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


def write_modelfile(folder: Path, source: str, files: ExportFiles, *, name: str, template: str, model: Path) -> Path:
    """Write Ollama's ``folder/Modelfile``.

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
    config = _load(ModelFolder(model).config_file)
    stated = config.get("max_position_embeddings") or config.get("text_config", {}).get("max_position_embeddings")
    context = min(int(stated or _DEFAULT_CONTEXT_TOKENS), _MAX_CONTEXT_TOKENS)
    generation = _load(ModelFolder(model).generation_config)
    sampling = {
        ours: generation[theirs]
        for theirs, ours in _SAMPLING.items()
        if isinstance(generation.get(theirs), int | float) and generation.get("do_sample")
    }
    return {"num_ctx": context, **sampling}


def _load(path: Path) -> Mapping[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def ollama_name(name: str) -> str:
    """A model's name as Ollama takes it: lower case, no spaces.

    >>> ollama_name("Law (7B)")
    'law-7b'
    """
    return _UNSAFE.sub("-", name.lower()).strip("-.") or "model"
