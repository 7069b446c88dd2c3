"""Whether weight files are whole, and what they hold, told from their headers and sizes alone.

The safetensors format: 8 bytes with the header's length (little endian), the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import PreflightError

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100 << 20
_LFS_POINTER = b"version https://git-lfs"
_NOT_A_TENSOR = "__metadata__"


class BrokenWeightsError(Exception):
    """A weight file that can't be used. The text says what is wrong: ``is empty or cut off``."""


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor name → ``dtype``, ``shape`` and ``data_offsets``, as the header of a safetensors file has them.

    Raises:
        BrokenWeightsError: the file can't be read, is not a safetensors file, or has another size than its header says.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as source:
            start = source.read(_LENGTH_BYTES)
            if start.startswith(_LFS_POINTER[:_LENGTH_BYTES]):
                raise BrokenWeightsError("is a Git LFS pointer, not the file itself")
            if len(start) < _LENGTH_BYTES:
                raise BrokenWeightsError("is empty or cut off")
            (header_bytes,) = struct.unpack("<Q", start)
            if header_bytes > min(size_bytes, _MAX_HEADER_BYTES):
                raise BrokenWeightsError("is cut off or no safetensors file")
            header: dict[str, dict[str, Any]] = orjson.loads(source.read(header_bytes))
        header.pop(_NOT_A_TENSOR, None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except OSError as error:
        raise BrokenWeightsError(f"can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BrokenWeightsError("has a broken header") from error
    expected_bytes = _LENGTH_BYTES + header_bytes + end
    if size_bytes != expected_bytes:
        raise BrokenWeightsError(f"has {size_bytes:,} bytes, its header says {expected_bytes:,}")
    return header


def check_safetensors(path: Path) -> str | None:
    """What is wrong with a safetensors file, or None: the sizes in its header are compared with the file's."""
    try:
        read_header(path)
    except BrokenWeightsError as error:
        return str(error)
    return None


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name → shape, from the header of a safetensors file.

    Raises:
        PreflightError: it is not one, or is cut off.
    """
    try:
        return {name: tuple(entry["shape"]) for name, entry in read_header(path).items()}
    except BrokenWeightsError as error:
        raise PreflightError(
            f"{path}: {error}",
            hint="It was cut off while it was written or copied: use another checkpoint, or copy it again.",
        ) from error


def count_parameters(path: Path) -> int:
    """The number of elements in a safetensors file, from its header; 0 when it can't be read."""
    try:
        return sum(math.prod(entry["shape"]) for entry in read_header(path).values())
    except BrokenWeightsError:
        return 0


def check_torch_file(path: Path) -> str | None:
    """What is wrong with a file that ``torch.save`` wrote, or None: it is a zip, whose directory stands at its end."""
    try:
        if path.stat().st_size == 0:
            return "is empty"
        return None if zipfile.is_zipfile(path) else "is cut off"
    except OSError as error:
        return f"can't be read: {error.strerror}"


def check_weights(folder: Path, stem: str) -> list[str]:
    """What is wrong with the weights of a folder; an empty list when they are all there and whole.

    Args:
        folder: holds ``<stem>.safetensors``, ``<stem>.safetensors.index.json`` with its shards, or torch's ``.bin``.
        stem: ``model`` or ``adapter_model``.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        return _check_shards(folder, index)
    if single.is_file():
        problem = check_safetensors(single)
        return [f"{single.name} {problem}"] if problem else []
    torch_stem = "pytorch_model" if stem == "model" else stem
    torch_files = sorted(folder.glob(f"{torch_stem}*.bin"))
    if torch_files:
        return [f"{path.name} {problem}" for path in torch_files if (problem := check_torch_file(path))]
    return [f"{single.name} is missing"]


def _check_shards(folder: Path, index: Path) -> list[str]:
    try:
        shards = sorted(set(orjson.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{index.name} can't be read"]
    problems = []
    for name in shards:
        path = folder / name
        problem = check_safetensors(path) if path.is_file() else "is missing"
        if problem:
            problems.append(f"{name} {problem}")
    return problems
