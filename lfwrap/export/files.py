"""What ships beside the weights: tokenizer, the training's chat template, configs with the training's stop tokens."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lfwrap.engine import contract
from lfwrap.engine.chat_templates import after_result
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine
from lfwrap.engine.worker_process import WorkerProcess
from lfwrap.files import write_json
from lfwrap.inference.target import Target
from lfwrap.model.folder import ModelFolder, read_json_object

_SOURCES = {
    "base": "the base model's own chat template",
    "training": "a chat template built from the training's",
    "engine": "the chat template that LLaMA-Factory writes",
}


@dataclass(frozen=True, slots=True)
class ShippedTemplate:
    """Which chat template ships, and how it compares with the training's.

    Attributes:
        source: ``base``, ``training`` (built from the training's template) or ``engine``.
        same: conversations of which it gives the training's token ids.
        differences: the others: name, position from 0, the text there in training and as shipped.
    """

    source: str
    same: tuple[str, ...]
    differences: tuple[Mapping[str, Any], ...]

    def summary(self) -> str:
        """One line: what ships and what it can't say."""
        total = len(self.same) + len(self.differences)
        text = (
            f"chat template: {_SOURCES[self.source]}; {len(self.same)} of {total} conversations tokenise as in training"
        )
        if not self.differences:
            return text
        parts = [
            f"{item['conversation']} (from token {item['position'] + 1}: {item['trained']!r} in training, "
            f"{item['exported']!r} shipped)"
            for item in self.differences
        ]
        return f"{text}; otherwise: {'; '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``export.json``."""
        return {"source": self.source, "same": list(self.same), "differences": [dict(d) for d in self.differences]}


@dataclass(frozen=True, slots=True)
class ExportFiles:
    """Files made beside the weights, and what other runtimes ask about the template.

    Attributes:
        folder: where the files lie.
        chat_template: the one that ships.
        stop_ids: tokens that end an answer.
        stop_words: the same as text.
        default_system: the template's own system prompt; may be empty.
        ollama_template: Ollama's Go template.
        ollama_has_tools: whether that one can say tools.
        timing: seconds of importing the engine, and of the work.
    """

    folder: Path
    chat_template: ShippedTemplate
    stop_ids: tuple[int, ...]
    stop_words: tuple[str, ...]
    default_system: str
    ollama_template: str
    ollama_has_tools: bool
    timing: Mapping[str, float]

    def copy_to(self, folder: Path) -> None:
        """Put the files beside a model's weights; what is there under the same names is replaced."""
        for path in self.folder.iterdir():
            shutil.copyfile(path, folder / path.name)
        _set_stop_ids(folder, self.stop_ids)


class FilesJob:
    """The engine at work on the files of a target, beside whatever else goes on. Use it as a context."""

    def __init__(self, engine: Engine, target: Target, folder: Path) -> None:
        """Start it; ``folder`` is made. Raises PreflightError when the engine's Python can't be started."""
        folder.mkdir(parents=True)
        self._folder = folder
        arguments = target.engine_arguments(quantized=False, adapters=())
        environment = engine_environment(model_is_local=target.model_is_local, runs_model=False)
        self._job: contract.FilesJob = {
            "arguments": arguments,
            "out": str(folder),
            "text_only": is_text_only(target),
            "after_result": after_result(arguments.get("template")),
        }
        self._worker = WorkerProcess(engine.python, "export_files", environment=environment)

    def __enter__(self) -> Self:
        """Hand it the job."""
        self._worker.begin(self._job)
        return self

    def __exit__(self, *_: object) -> None:
        """End the child."""
        self._worker.close()

    def result(self) -> ExportFiles:
        """Wait for the files. Raises EngineError: no tokenizer can be loaded, or the engine knows no such template."""
        found = self._worker.receive()
        template = found["chat_template"]
        return ExportFiles(
            self._folder,
            ShippedTemplate(template["source"], tuple(template["same"]), tuple(template["differences"])),
            tuple(found["stop_ids"]),
            tuple(found["stop_words"]),
            found["default_system"],
            found["ollama"]["template"],
            found["ollama"]["has_tools"],
            found.get("timing", {}),
        )


def is_text_only(target: Target) -> bool:
    """Whether a tokenizer is all that the model's folder holds beside weights: no processor of images or sound."""
    if target.base is None or not target.model_is_local or target.options.get("trust_remote_code"):
        return False
    return not target.base.has_processor_or_code()


def write_model_config(target: Target, folder: Path, dtype: str) -> None:
    """The base's config.json with the exported type, and its generation_config.json. Raises PreflightError."""
    base = target.base
    assert base is not None  # noqa: S101 - only for bases that lie in a folder
    values = base.config()
    values.pop("_name_or_path", None)
    key = "torch_dtype" if "torch_dtype" in values and "dtype" not in values else "dtype"
    write_json(folder / "config.json", {**values, key: dtype})
    if base.generation_config.is_file():
        shutil.copyfile(base.generation_config, ModelFolder(folder).generation_config)


def _set_stop_ids(folder: Path, stop_ids: tuple[int, ...]) -> None:
    """Runtimes stop at the tokens of generation_config.json: those of the training belong there too."""
    path = ModelFolder(folder).generation_config
    if not path.is_file() or not stop_ids:
        return
    values = read_json_object(path)
    stated = values.get("eos_token_id")
    before = stated if isinstance(stated, list) else [stated] if isinstance(stated, int) else []
    ids = list(dict.fromkeys([*before, *stop_ids]))
    if ids != before:
        write_json(path, {**values, "eos_token_id": ids if len(ids) > 1 else ids[0]})
