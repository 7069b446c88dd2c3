"""What lies in a folder that a model or an adapter was saved into, told from file names, JSON and headers alone.

The only module that knows how peft and transformers name their files; nothing here loads a tensor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import orjson

from lfwrap.errors import PreflightError
from lfwrap.model.hf_config import find_config
from lfwrap.model.weight_files import check_weights, count_parameters, read_shapes

MODEL_CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_ADAPTER_WEIGHTS_BY_TORCH = "adapter_model.bin"
_GENERATION_CONFIG = "generation_config.json"
_INDEX = "model.safetensors.index.json"
_MODEL_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "tiktoken.model",
)  # fmt: skip
_OWN_CODE_OR_PROCESSOR = ("*processor*.json", "*.py")
_CHECKPOINT = "checkpoint-"
_INIT_THAT_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq")
_LORA_A = ".lora_A"
_ADAPTER_PREFIX = "base_model.model."
_MATRIX = 2
_ADAPTER_TUNING = frozenset({"lora", "oft"})


class FolderKind(StrEnum):
    """What a folder holds, by the configuration file in it."""

    ADAPTER = "adapter"
    MODEL = "model"
    OTHER = "other"


def folder_kind(folder: Path) -> FolderKind:
    """What a folder holds; one with both files is an adapter's (peft keeps the base's config.json beside it)."""
    if (folder / ADAPTER_CONFIG).is_file():
        return FolderKind.ADAPTER
    return FolderKind.MODEL if (folder / MODEL_CONFIG).is_file() else FolderKind.OTHER


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter's configuration."""
    return folder_kind(folder) is FolderKind.ADAPTER


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is named as the engine names its checkpoints.

    >>> is_checkpoint(Path("runs/law/output/checkpoint-138")), is_checkpoint(Path("runs/law/output"))
    (True, False)
    """
    return folder.name.startswith(_CHECKPOINT)


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises PreflightError when it can't be read or holds something else."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise PreflightError(f"{path}: can't be read: {error}", hint="Is the folder complete?") from error
    if not isinstance(value, dict):
        raise PreflightError(f"{path}: not a JSON object", hint="Is the folder complete?")
    return value


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with a whole model: config.json, weights, a tokenizer.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def find(cls, name_or_path: str, *, revision: str | None = None) -> Self | None:
        """The folder of a local model or of a hub model's newest copy in the cache; None without a config.json."""
        config = find_config(name_or_path, revision=revision)
        return cls(config.parent) if config else None

    @property
    def config_file(self) -> Path:
        """The path of the model's ``config.json``."""
        return self.path / MODEL_CONFIG

    @property
    def generation_config(self) -> Path:
        """The file with the model's stop tokens and sampling, which need not be there."""
        return self.path / _GENERATION_CONFIG

    def config(self) -> dict[str, Any]:
        """The contents of config.json. Raises PreflightError when it can't be read."""
        return read_json_object(self.config_file)

    def weight_files(self) -> list[Path]:
        """The model's weights in the order of their names: safetensors, or torch's files where there are none."""
        found = (sorted(self.path.glob(pattern)) for pattern in _MODEL_WEIGHTS)
        return next((files for files in found if files), [])

    def weight_bytes(self) -> int:
        """The size of all weight files, in bytes."""
        return sum(path.stat().st_size for path in self.weight_files())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → shape, from all safetensors files. Raises PreflightError: one of them is broken."""
        shapes: dict[str, tuple[int, ...]] = {}
        for path in sorted(self.path.glob("*.safetensors")):
            shapes |= read_shapes(path)
        return shapes

    def parameters(self) -> int:
        """The number of elements in all safetensors files; one that can't be read counts as none."""
        return sum(count_parameters(path) for path in self.path.glob("*.safetensors"))

    def lacking(self) -> list[str]:
        """Which of ``config.json``, ``weights`` and ``tokenizer`` are not there, or only as empty files."""
        parts = (("config.json", (MODEL_CONFIG,)), ("weights", _MODEL_WEIGHTS), ("tokenizer", TOKENIZERS))
        return [part for part, patterns in parts if not _has_any(self.path, patterns)]

    def lacking_shards(self) -> list[str]:
        """Files of weights that the index names and that are not there. Raises PreflightError: a broken index."""
        index = self.path / _INDEX
        shards = set(read_json_object(index).get("weight_map", {}).values()) if index.is_file() else set()
        return sorted(shard for shard in shards if not (self.path / shard).is_file())

    def has_tokenizer(self) -> bool:
        """Whether any of the files that a tokenizer is loaded from is there."""
        return _has_any(self.path, TOKENIZERS)

    def has_processor_or_code(self) -> bool:
        """Whether more than a tokenizer prepares the model's input: a processor of images or sound, or own code."""
        return _has_any(self.path, _OWN_CODE_OR_PROCESSOR)

    def weight_problems(self) -> list[str]:
        """What is missing or cut off among the weights; empty when they are whole."""
        return check_weights(self.path, "model")

    def identity(self) -> list[list[Any]]:
        """Name, size in bytes and time (ns) of configuration and weights: other values mean other answers."""
        return _identity(self.path, (*_MODEL_WEIGHTS, MODEL_CONFIG))


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    """A folder with an adapter: its configuration and its weights, without the base.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config_file(self) -> Path:
        """The path of the adapter's ``adapter_config.json``."""
        return self.path / ADAPTER_CONFIG

    @property
    def weights_file(self) -> Path:
        """``adapter_model.safetensors``, which is not there where torch's format was asked for."""
        return self.path / ADAPTER_WEIGHTS

    def weight_files(self) -> list[Path]:
        """The files of weights that are there, safetensors first; empty before the first save."""
        names = (ADAPTER_WEIGHTS, _ADAPTER_WEIGHTS_BY_TORCH)
        return [self.path / name for name in names if (self.path / name).is_file()]

    def config(self) -> dict[str, Any]:
        """The contents of adapter_config.json. Raises PreflightError when it can't be read."""
        return read_json_object(self.config_file)

    def base_model(self) -> str | None:
        """The base model that the adapter names: a hub id or a folder. Raises PreflightError as `config`."""
        return self.config().get("base_model_name_or_path") or None

    def rank(self) -> int:
        """The LoRA rank; 0 when none is stated. Raises PreflightError as `config`."""
        return int(self.config().get("r") or 0)

    def changes_the_base(self) -> bool:
        """Whether the adapter alters the base itself, or peft can't keep it beside an adapter of another kind.

        It alters the base when its initialisation took a part out of the weights (PiSSA and its like), when it brings
        biases, or when it repeats layers. Raises PreflightError as `config`.
        """
        config = self.config()
        start = config.get("init_lora_weights")
        return (
            (isinstance(start, str) and start.startswith(_INIT_THAT_CHANGES_THE_BASE))
            or config.get("bias") not in {None, "none"}
            or any(config.get(key) for key in ("layer_replication", "trainable_token_indices", "target_parameters"))
            or config.get("peft_type") not in {None, "LORA"}
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensor name → shape, from the safetensors file. Raises PreflightError: it is not there, or broken."""
        return read_shapes(self.weights_file)

    def input_widths(self) -> dict[str, int]:
        """Name of each weight of the base that a LoRA matrix stands on → its number of inputs. Raises as `shapes`."""
        return {
            name.removeprefix(_ADAPTER_PREFIX).split(_LORA_A)[0] + ".weight": shape[-1]
            for name, shape in self.shapes().items()
            if _LORA_A in name and len(shape) == _MATRIX
        }

    def weight_problems(self) -> list[str]:
        """What is missing or cut off among the weights; empty when they are whole."""
        return check_weights(self.path, "adapter_model")

    def problems(self) -> list[str]:
        """What is missing or cut off, the configuration included; empty when the adapter is whole."""
        return [*([] if self.config_file.is_file() else [f"{ADAPTER_CONFIG} is missing"]), *self.weight_problems()]

    def identity(self) -> list[list[Any]]:
        """Name, size in bytes and time (ns) of configuration and weights: other values mean other answers."""
        return _identity(self.path, ("adapter_model*.safetensors", "adapter_model*.bin", ADAPTER_CONFIG))


def trained_folder(path: Path, finetuning_type: str) -> ModelFolder | AdapterFolder:
    """A folder that a training writes, by what it leaves there: ``lora`` and ``oft`` an adapter, the others a model.

    >>> type(trained_folder(Path("output"), "full")).__name__, type(trained_folder(Path("output"), "lora")).__name__
    ('ModelFolder', 'AdapterFolder')
    """
    return AdapterFolder(path) if finetuning_type in _ADAPTER_TUNING else ModelFolder(path)


def _has_any(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether a folder holds a file of one of these names; an empty file does not count."""
    return any(path.is_file() and path.stat().st_size for pattern in patterns for path in folder.glob(pattern))


def _identity(folder: Path, patterns: Iterable[str]) -> list[list[Any]]:
    files = [path for pattern in patterns for path in folder.glob(pattern)] if folder.is_dir() else []
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(files)]
