"""Files of safetensors as they are read, laid out and written, without torch; used by workers.

The format: 8 bytes with the header's length (little endian), the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import json
import math
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FLOATS = ("F64", "F32", "F16", "BF16")
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LENGTH_BYTES = 8
_ALIGNMENT_BYTES = 8
_FLUSH_BYTES = 64 << 20
_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Tensor(NamedTuple):
    """One tensor of a file: where its bytes start, and the type it has there and is to have.

    Attributes:
        name: its name.
        source: the file it stands in.
        start: the offset of its first byte there.
        shape: its shape.
        stored: the code of its type there: ``BF16``.
        code: the code of the type it is written in.
    """

    name: str
    source: Path
    start: int
    shape: tuple[int, ...]
    stored: str
    code: str

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Its size as written."""
        return self.elements * WIDTHS[self.code]


def read_tensors(path: Path) -> list[Tensor]:
    """The tensors of one file in the order of their bytes, each to stay in its type."""
    with path.open("rb") as source:
        (length,) = struct.unpack("<Q", source.read(_LENGTH_BYTES))
        header: dict[str, Any] = json.loads(source.read(length))
    header.pop("__metadata__", None)
    start = _LENGTH_BYTES + length
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"][0])
    return [
        Tensor(name, path, start + entry["data_offsets"][0], tuple(entry["shape"]), entry["dtype"], entry["dtype"])
        for name, entry in entries
    ]


def split_shards(tensors: Sequence[Tensor], shard_bytes: int) -> list[list[Tensor]]:
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


def shard_names(count: int) -> list[str]:
    """The names that every loader knows."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]


def write_index(folder: Path, names: Sequence[str], shards: Sequence[Sequence[Tensor]]) -> None:
    """The index of several files: which tensor stands in which."""
    weight_map = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    total = sum(tensor.size_bytes for shard in shards for tensor in shard)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


class ShardFile:
    """A safetensors file whose tensors are written in any order, by several processes, each at its place.

    It is opened before they are forked. A thread of the first one hands what was written to the disk again and again,
    so that the disk works from the first megabytes on and little is left to wait for at the end.
    """

    def __init__(self, path: Path, tensors: Sequence[Tensor]) -> None:
        """Lay the file out; `open` makes it."""
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for tensor in tensors:
            end = offset + tensor.size_bytes
            header[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _ALIGNMENT_BYTES)
        self._header = struct.pack("<Q", len(text)) + text
        self._offsets = {name: entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}
        self._path, self._left_bytes = path, offset
        self._unsynced_bytes = 0
        self._wake = threading.Event()
        self._error: OSError | None = None
        self._descriptor = -1
        self._flusher = threading.Thread(target=self._flush, daemon=True)

    def open(self) -> None:
        """Make it, with its header and its full length. Raises OSError."""
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.ftruncate(self._descriptor, len(self._header) + self._left_bytes)
        self._put(memoryview(self._header), 0)

    def write(self, name: str, start: int, content: memoryview) -> None:
        """Put bytes of a tensor at their place, ``start`` counted from its first; from any process. Raises OSError."""
        self._put(content, len(self._header) + self._offsets[name] + start)

    def written(self, size_bytes: int) -> None:
        """Count what was written; in the process that opened the file. Raises OSError where the disk failed."""
        if self._error is not None:
            raise self._error
        if self._flusher.ident is None:
            self._flusher.start()
        self._left_bytes -= size_bytes
        self._unsynced_bytes += size_bytes
        if self._unsynced_bytes >= _FLUSH_BYTES or self._left_bytes <= 0:
            self._unsynced_bytes = 0
            self._wake.set()

    def finish(self) -> None:
        """See that everything is on the disk; once all is written. Raises OSError: it is full, or failed."""
        self.written(0)
        self._flusher.join()
        self.abandon()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Close it as it is; nobody may be writing any more."""
        if self._descriptor < 0:
            return
        self._left_bytes = 0
        self._wake.set()
        if self._flusher.ident is not None:  # not started where nothing was written
            self._flusher.join()
        os.close(self._descriptor)
        self._descriptor = -1

    def _put(self, content: memoryview, offset: int) -> None:
        while content:
            written = os.pwrite(self._descriptor, content, offset)
            content, offset = content[written:], offset + written

    def _flush(self) -> None:
        try:
            while self._left_bytes > 0:
                self._wake.wait()
                self._wake.clear()
                _sync_data(self._descriptor)
            os.fsync(self._descriptor)
        except OSError as error:
            self._error = error
