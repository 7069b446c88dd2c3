"""Merge a plain LoRA adapter into its base, tensor by tensor; run by the engine's Python, not imported.

Reads one JSON object from stdin: ``base`` and ``adapter`` (folders of safetensors), ``out``, ``dtype`` (as torch calls
it), ``shard_bytes`` and ``skip`` (names of base tensors that are not to be written). Writes the weight files and, for
several, their index into ``out``, and one JSON line.

The engine's export loads the whole model, merges, and then writes. Here every tensor is read, merged and written on
its own, several at a time, so that the disk is busy from the start and memory holds a few tensors. The arithmetic is
peft's: W + (B · A) · scale in fp32, rounded once to the exported type. A test holds the bytes against the engine's,
which are the same unless a 16-bit base goes out in another type: the engine rounds to the base's type first.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from answer import run_job  # type: ignore[import-not-found]  # beside this script

_LENGTH_BYTES = 8
_ALIGNMENT_BYTES = 8
_MAX_WRITERS = 8
_CHUNK_BYTES = 64 << 20
_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_FLOATS = ("F64", "F32", "F16", "BF16")


class Tensor(NamedTuple):
    """One tensor of the base: where it is, and where and as what it is to be written."""

    name: str
    source: Path
    shape: tuple[int, ...]
    code: str
    size_bytes: int


def read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, without its metadata."""
    with path.open("rb") as source:
        (length,) = struct.unpack("<Q", source.read(_LENGTH_BYTES))
        header: dict[str, Any] = json.loads(source.read(length))
    header.pop("__metadata__", None)
    return header


def list_tensors(base: Path, dtype: str, skip: set[str]) -> list[Tensor]:
    """Every tensor of the base, in the order of its files."""
    found = []
    for path in sorted(base.glob("*.safetensors")):
        entries = sorted(read_header(path).items(), key=lambda item: item[1]["data_offsets"][0])
        for name, entry in entries:
            if name not in skip:
                code = _NAMES[dtype] if entry["dtype"] in _FLOATS else entry["dtype"]
                shape = tuple(entry["shape"])
                found.append(Tensor(name, path, shape, code, math.prod(shape) * _WIDTHS[code]))
    return found


def split_shards(tensors: list[Tensor], shard_bytes: int) -> list[list[Tensor]]:
    """Files of at most ``shard_bytes``, a larger tensor alone in its own."""
    shards: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.size_bytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size_bytes
    return shards


class Adapter:
    """The matrices of a LoRA adapter, by the name of the base's tensor that they change."""

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import load_file

        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank, alpha = config["r"], config["lora_alpha"]
        self._scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        weights = load_file(folder / "adapter_model.safetensors")
        self._pairs: dict[str, list[Any]] = {}
        for name, tensor in weights.items():
            module, _, which = name.removeprefix("base_model.model.").partition(".lora_")
            pair = self._pairs.setdefault(f"{module}.weight", [None, None])
            pair["AB".index(which[0])] = tensor.float()

    @property
    def names(self) -> set[str]:
        """The tensors that it changes."""
        return set(self._pairs)

    def merged(self, name: str, weight: Any) -> Any:
        """The weight with the adapter's share added, in fp32; as it is where the adapter does not change it."""
        pair = self._pairs.get(name)
        if pair is None:
            return weight
        down, up = pair
        return weight.float() + (up @ down) * self._scale


class ShardFile:
    """A safetensors file whose tensors are written in any order, each at its place."""

    def __init__(self, path: Path, tensors: list[Tensor]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for tensor in tensors:
            end = offset + tensor.size_bytes
            header[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT_BYTES)
        self._start = _LENGTH_BYTES + len(text)
        self._offsets = {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
        self._file = path.open("wb")
        self._file.write(struct.pack("<Q", len(text)) + text)
        self._file.flush()
        self._file.truncate(self._start + offset)

    def write(self, name: str, content: memoryview) -> None:
        """Put one tensor's bytes at their place; safe from several threads."""
        offset = self._start + self._offsets[name]
        for begin in range(0, len(content), _CHUNK_BYTES):
            piece = content[begin : begin + _CHUNK_BYTES]
            while piece:
                written = os.pwrite(self._file.fileno(), piece, offset)
                piece, offset = piece[written:], offset + written

    def close(self) -> None:
        """Done."""
        self._file.close()


def merge(job: dict[str, Any]) -> dict[str, Any]:
    """Do it; returns the event. Raises ValueError when the adapter changes a tensor that the base does not have."""
    import torch
    from safetensors import safe_open

    out, adapter = Path(job["out"]), Adapter(Path(job["adapter"]))
    tensors = list_tensors(Path(job["base"]), job["dtype"], set(job["skip"]))
    lacking = adapter.names - {tensor.name for tensor in tensors}
    if lacking:
        raise ValueError(f"the base has no {', '.join(sorted(lacking)[:3])}")
    dtype = getattr(torch, job["dtype"])
    shards = split_shards(tensors, job["shard_bytes"])
    names = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{number + 1:05}-of-{len(shards):05}.safetensors" for number in range(len(shards))]
    )
    sources: dict[Path, Any] = {path: safe_open(path, framework="pt") for path in {tensor.source for tensor in tensors}}
    files = [ShardFile(out / name, shard) for name, shard in zip(names, shards, strict=True)]

    def write(file: ShardFile, tensor: Tensor) -> None:
        value = adapter.merged(tensor.name, sources[tensor.source].get_tensor(tensor.name))
        if value.is_floating_point():
            value = value.to(dtype)
        file.write(tensor.name, memoryview(value.contiguous().reshape(-1).view(torch.uint8).numpy()))

    writers = min(_MAX_WRITERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    with torch.inference_mode(), ThreadPoolExecutor(writers) as pool:
        work = [pool.submit(write, file, tensor) for file, shard in zip(files, shards, strict=True) for tensor in shard]
        for done in work:
            done.result()
    for file in files:
        file.close()
    if len(shards) > 1:
        _write_index(out, names, shards)
    return {"event": "done", "tensors": len(tensors), "merged": len(adapter.names), "files": names}


def _write_index(out: Path, names: list[str], shards: list[list[Tensor]]) -> None:
    weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.size_bytes for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_job(merge))
