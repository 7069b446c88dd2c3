"""What identifies a model or an adapter: small files by their hash, weights by their size and samples of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.files import sha256_file
from lfwrap.model.folder import ADAPTER_CONFIG, ModelFolder

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    ADAPTER_CONFIG,
)
_INDEXES = "*.index.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_NO_WEIGHTS = frozenset({"training_args.bin"})
_SAMPLES = 64
_SAMPLE_BYTES = 16 << 10


def describe_file(path: Path) -> dict[str, Any]:
    """A file's absolute path, size in bytes and SHA-256.

    Raises:
        OSError: it can't be read.
    """
    return {"path": str(path.resolve()), "size_bytes": path.stat().st_size, "sha256": sha256_file(path)}


def describe_weights(path: Path) -> dict[str, Any]:
    """A weight file's absolute path, size in bytes and the SHA-256 of samples: 15 GB take milliseconds, not a minute.

    Raises:
        OSError: it can't be read.
    """
    return {"path": str(path.resolve()), "size_bytes": path.stat().st_size, "sample_sha256": sample_sha256(path)}


def sample_sha256(path: Path) -> str:
    """The SHA-256 of 64 pieces of 16 KiB, spread evenly from the first byte to the last; of all of a smaller file.

    Other weights of the same shapes differ all over, so that this tells them apart; a single changed byte it may miss.

    Raises:
        OSError: the file can't be read.
    """
    size_bytes = path.stat().st_size
    if size_bytes <= _SAMPLES * _SAMPLE_BYTES:
        return sha256_file(path)
    digest = hashlib.sha256()
    last = size_bytes - _SAMPLE_BYTES
    with path.open("rb") as source:
        for number in range(_SAMPLES):
            source.seek(last * number // (_SAMPLES - 1))
            digest.update(source.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def describe_model(folder: Path, prefix: str) -> dict[str, dict[str, Any]]:
    """Configuration, tokenizer, index and weights of a model's or an adapter's folder: ``<prefix>:<file>`` → identity.

    Raises:
        OSError: a file can't be read.
    """
    small = {folder / name for name in _SMALL_FILES} | set(folder.glob(_INDEXES))
    weights = {path for pattern in _WEIGHTS for path in folder.glob(pattern) if path.name not in _NO_WEIGHTS}
    found = {f"{prefix}:{path.name}": describe_file(path) for path in sorted(small) if path.is_file()}
    return found | {f"{prefix}:{path.name}": describe_weights(path) for path in sorted(weights) if path.is_file()}


def model_folder(name: str, cwd: Path, revision: str | None = None) -> Path | None:
    """The folder of a local model, or of a hub model's newest copy in the cache; None when it is on neither."""
    local = cwd / Path(name).expanduser()
    if local.is_dir():
        return local
    found = ModelFolder.find(name, revision=revision)
    return found.path if found else None


def hub_commit(name: str, cwd: Path, revision: str | None = None) -> str | None:
    """The commit of a hub model's copy in the cache; None for a local folder, or before it was fetched."""
    folder = model_folder(name, cwd, revision)
    return folder.name if folder is not None and folder.parent.name == "snapshots" else None


def has_changed(entry: Mapping[str, Any]) -> bool:
    """Whether a file, which must be there, is another than the one that was described."""
    path = Path(entry["path"])
    if path.stat().st_size != entry["size_bytes"]:
        return True
    before, now = (entry["sha256"], sha256_file) if "sha256" in entry else (entry["sample_sha256"], sample_sha256)
    return bool(now(path) != before)
