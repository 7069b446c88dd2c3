"""Merge a plain LoRA adapter into its base, tensor by tensor; run by the engine's Python, not imported.

Reads one JSON object from stdin: ``base`` and ``adapter`` (folders of safetensors), ``out``, ``dtype`` (as torch calls
it), ``shard_bytes`` and ``skip`` (names of base tensors that are not to be written). Writes the weight files and, for
several, their index into ``out``, and one JSON line with where the time went.

The engine's export loads the whole model, merges, and then writes. Here several threads each read some megabytes, merge
them and write them, so that the disk is busy from the start and memory holds a few megabytes a thread; a tensor that
the adapter does not change and that keeps its type is copied. The arithmetic is peft's: W + (B · A) · scale in fp32,
rounded once to the exported type. A test holds the bytes against the engine's, which are the same unless a 16-bit base
goes out in another type: the engine rounds to the base's type first.
"""

from __future__ import annotations

import os

# One thread a product: the tensors themselves are spread over the cores. Read when numpy is loaded.
os.environ.update({"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})

import collections
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from answer import run_job  # type: ignore[import-not-found]  # beside this script
from tensor_arithmetic import (  # type: ignore[import-not-found]  # beside this script
    Array,
    Scratch,
    Share,
    as_array,
    merge_rows,
    to_float32,
)
from tensor_files import (  # type: ignore[import-not-found]  # beside this script
    CODES,
    FLOATS,
    WIDTHS,
    ShardFile,
    Tensor,
    read_tensors,
    shard_names,
    split_shards,
    write_index,
)

_MAX_THREADS = 16
_STEP_ELEMENTS = 4 << 20
_COPY_ELEMENTS = 128 << 20
_FILES_AT_ONCE = 4


class Task(NamedTuple):
    """What one thread does in one go: rows of a tensor; ``first`` and ``last`` count its first dimension."""

    file: ShardFile
    tensor: Tensor
    offset: int
    rows: range
    columns: int


class Sources:
    """Files of tensors, open for reading from several threads."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, paths: set[Path]) -> None:
        """Open files before the threads start. Raises OSError."""
        for path in paths:
            self._descriptors[path] = os.open(path, os.O_RDONLY)

    def read(self, tensor: Tensor, first: int, out: Array) -> None:
        """Fill ``out`` with the stored bytes of a tensor from element ``first`` on. Raises OSError, also at an end."""
        view, place = memoryview(out), tensor.start + first * WIDTHS[tensor.stored]
        while view:
            count = os.preadv(self._descriptors[tensor.source], [view], place)
            if count == 0:
                raise OSError(f"{tensor.source}: ends in the middle of {tensor.name}")
            view, place = view[count:], place + count

    def values(self, tensor: Tensor, rows: range | None = None) -> Array:
        """A matrix, or some of its rows, in fp32."""
        height = rows or range(tensor.shape[0])
        content = np.empty(len(height) * tensor.shape[1] * WIDTHS[tensor.stored], np.uint8)
        self.read(tensor, height.start * tensor.shape[1], content)
        shape = (len(height), tensor.shape[1])
        return to_float32(as_array(content, tensor.stored).reshape(shape), tensor.stored, np.empty(shape, np.float32))


class Adapter:
    """The matrices of a LoRA adapter, by the name of the base's tensor that they change."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank, alpha = config["r"], config["lora_alpha"]
        self.scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
        self.path = folder / "adapter_model.safetensors"
        self.pairs: dict[str, dict[str, Tensor]] = {}
        for tensor in read_tensors(self.path):
            module, _, which = tensor.name.removeprefix("base_model.model.").partition(".lora_")
            self.pairs.setdefault(f"{module}.weight", {})[which[0]] = tensor


class Clock:
    """Seconds of all threads together, by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: collections.Counter[str] = collections.Counter()
        self._now_s = time.perf_counter()

    def spent(self, what: str) -> None:
        """Put the time since the last call down to something."""
        before_s, self._now_s = self._now_s, time.perf_counter()
        self.seconds[what] += self._now_s - before_s  # type: ignore[assignment]  # seconds, not a count


class Merger:
    """One thread's work, with memory of its own."""

    def __init__(self, sources: Sources, adapter: Adapter) -> None:
        self._sources, self._adapter = sources, adapter
        self._scratch = Scratch()
        self._raw = np.empty(0, np.uint8)
        self._made = np.empty(0, np.uint8)
        self.clock = Clock()

    def run(self, tasks: collections.deque[Task]) -> None:
        """Take tasks until there are none; on a failure nobody takes any more."""
        try:
            while tasks:
                try:
                    task = tasks.popleft()
                except IndexError:
                    return
                self._do(task)
        except BaseException:
            tasks.clear()
            raise

    def _do(self, task: Task) -> None:
        tensor, pair = task.tensor, self._adapter.pairs.get(task.tensor.name)
        down = self._sources.values(pair["A"]) if pair else np.empty(0)
        step = max(1, _STEP_ELEMENTS // max(1, task.columns))
        for top in range(task.rows.start, task.rows.stop, step):
            rows = range(top, min(top + step, task.rows.stop))
            count, first = len(rows) * task.columns, rows.start * task.columns
            self._raw = _room(self._raw, count * WIDTHS[tensor.stored])
            raw = self._raw[: count * WIDTHS[tensor.stored]]
            self._sources.read(tensor, first, raw)
            share = Share(down, self._sources.values(pair["B"], rows), self._adapter.scale) if pair else None
            self.clock.spent("read_s")
            made = raw if share is None and tensor.stored == tensor.code else self._merge(task, raw, len(rows), share)
            self.clock.spent("merge_s")
            task.file.write(tensor.name, first * WIDTHS[tensor.code], made.data)
            self.clock.spent("write_s")

    def _merge(self, task: Task, raw: Array, rows: int, share: Share | None) -> Array:
        tensor, shape = task.tensor, (rows, task.columns) if share else (1, rows * task.columns)
        size = rows * task.columns * WIDTHS[tensor.code]
        self._made = _room(self._made, size)
        weight = as_array(raw, tensor.stored).reshape(shape)
        out = as_array(self._made[:size], tensor.code).reshape(shape)
        merge_rows(weight, out, (tensor.stored, tensor.code), share, self._scratch)
        return self._made[:size]


def _room(buffer: Array, size: int) -> Array:
    return buffer if buffer.size >= size else np.empty(size, np.uint8)


def list_tensors(base: Path, dtype: str, skip: set[str]) -> list[Tensor]:
    """Every tensor of the base, in the order of its files, numbers with a point in the exported type."""
    return [
        tensor._replace(code=CODES[dtype] if tensor.stored in FLOATS else tensor.stored)
        for path in sorted(base.glob("*.safetensors"))
        for tensor in read_tensors(path)
        if tensor.name not in skip
    ]


def plan_tasks(files: Sequence[ShardFile], shards: Sequence[Sequence[Tensor]], merged: set[str]) -> Iterator[Task]:
    """What is to be done, a few files side by side: a file takes one writer at a time, the disk takes more."""
    for start in range(0, len(files), _FILES_AT_ONCE):
        tasks: list[Task] = []
        for file, shard in list(zip(files, shards, strict=True))[start : start + _FILES_AT_ONCE]:
            offset = 0
            for tensor in shard:
                tasks += _tasks_of(file, tensor, offset, whole=tensor.name in merged)
                offset += tensor.size_bytes
        yield from sorted(tasks, key=lambda task: task.offset)


def _tasks_of(file: ShardFile, tensor: Tensor, offset: int, *, whole: bool) -> Iterator[Task]:
    if whole:
        yield Task(file, tensor, offset, range(tensor.shape[0]), tensor.shape[1])
        return
    for first in range(0, tensor.elements, _COPY_ELEMENTS):
        rows = range(first, min(first + _COPY_ELEMENTS, tensor.elements))
        yield Task(file, tensor, offset + first * WIDTHS[tensor.code], rows, 1)


def merge(job: dict[str, Any]) -> dict[str, Any]:
    """Do it; returns the event. Raises ValueError when the adapter changes a tensor that the base does not have."""
    begun_s = time.monotonic()
    out, adapter = Path(job["out"]), Adapter(Path(job["adapter"]))
    tensors = list_tensors(Path(job["base"]), job["dtype"], set(job["skip"]))
    lacking = adapter.pairs.keys() - {tensor.name for tensor in tensors}
    if lacking:
        raise ValueError(f"the base has no {', '.join(sorted(lacking)[:3])}")
    shards = split_shards(tensors, job["shard_bytes"])
    names = shard_names(len(shards))
    files = [ShardFile(out / name, shard) for name, shard in zip(names, shards, strict=True)]
    sources = Sources()
    sources.open({tensor.source for tensor in tensors} | {adapter.path})
    tasks = collections.deque(plan_tasks(files, shards, set(adapter.pairs)))
    seconds = run_tasks(files, tasks, sources, adapter)
    if len(shards) > 1:
        write_index(out, names, shards)
    seconds["wall_s"] = time.monotonic() - begun_s
    timing = {name: round(value, 2) for name, value in seconds.items()}
    return {"event": "done", "tensors": len(tensors), "merged": len(adapter.pairs), "files": names, "timing": timing}


def run_tasks(
    files: Sequence[ShardFile], tasks: collections.deque[Task], sources: Sources, adapter: Adapter
) -> dict[str, float]:
    """Merge and write it all, to the disk; returns seconds. Raises OSError."""
    mergers = [Merger(sources, adapter) for _ in range(thread_count())]
    try:
        with ThreadPoolExecutor(len(mergers)) as pool:
            work = [pool.submit(merger.run, tasks) for merger in mergers]
        for done in work:
            done.result()
        written_s = time.monotonic()
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.abandon()
    spent = sum((merger.clock.seconds for merger in mergers), collections.Counter[str]())
    return {**spent, "sync_s": time.monotonic() - written_s, "threads": float(len(mergers))}


def thread_count() -> int:
    """One for each core, and two that may wait for the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_THREADS, cores + 2)


if __name__ == "__main__":
    sys.exit(run_job(merge))
