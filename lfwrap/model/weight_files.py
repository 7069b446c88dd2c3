"""Whether weight files are whole, told from their headers and sizes alone."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import orjson

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100 << 20
_LFS_POINTER = b"version https://git-lfs"


def check_safetensors(path: Path) -> str | None:
    """What is wrong with a safetensors file, or None: its header is read, and the sizes in it compared with the file's.

    The format: 8 bytes with the header's length (little endian), the header as JSON, then the tensors' bytes.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as source:
            start = source.read(_LENGTH_BYTES)
            if start.startswith(_LFS_POINTER[:_LENGTH_BYTES]):
                return "is a Git LFS pointer, not the file itself"
            if len(start) < _LENGTH_BYTES:
                return "is empty or cut off"
            (header_bytes,) = struct.unpack("<Q", start)
            if header_bytes > min(size_bytes, _MAX_HEADER_BYTES):
                return "is cut off or no safetensors file"
            header = orjson.loads(source.read(header_bytes))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except OSError as error:
        return f"can't be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return "has a broken header"
    expected_bytes = _LENGTH_BYTES + header_bytes + end
    return None if size_bytes == expected_bytes else f"has {size_bytes:,} bytes, its header says {expected_bytes:,}"


def count_parameters(path: Path) -> int:
    """The number of elements in a safetensors file, from its header; 0 when it can't be read."""
    if check_safetensors(path) is not None:
        return 0
    with path.open("rb") as source:
        (header_bytes,) = struct.unpack("<Q", source.read(_LENGTH_BYTES))
        header = orjson.loads(source.read(header_bytes))
    total = 0
    for name, entry in header.items():
        if name != "__metadata__":
            elements = 1
            for length in entry["shape"]:
                elements *= length
            total += elements
    return total


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
