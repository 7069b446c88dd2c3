"""Merge a plain LoRA adapter into its base, tensor by tensor: a worker.

Reads one JSON object from stdin: ``base`` and ``adapter`` (folders of safetensors), ``out``, ``dtype`` (as torch calls
it), ``shard_bytes`` and ``skip`` (names of base tensors that are not to be written). Writes the weight files and, for
several, their index into ``out``, and one JSON line with where the time went.

The engine's export loads the whole model, merges, and then writes. Here several processes each read some megabytes,
merge them and write them, so that the disk is busy from the start and memory holds some megabytes a process; a tensor
that the adapter does not change and that keeps its type is copied. The arithmetic is peft's: W + (B · A) · scale in
fp32, rounded once to the exported type. Two libraries, processors or numbers of threads may sum the products of B · A
in other orders, so a merged number is promised to be the exact sum rounded, off by no more than fp32's own error (see
tensor_arithmetic.py); it differs from the engine's where that sum lies at the edge between two numbers of the exported
type. Where a 16-bit base goes out in another type, the engine rounds to the base's type first, and this does not.
"""

from __future__ import annotations

import os

# One thread a product: the tensors themselves are spread over processes. Read when numpy is loaded.
os.environ.update({"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})

import collections
import json
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lfwrap_worker.channel import run_job
from lfwrap_worker.contract import EVENT_DONE, MergeJob
from lfwrap_worker.export.task_processes import do_tasks
from lfwrap_worker.export.tensor_arithmetic import (
    Array,
    Scratch,
    Share,
    as_array,
    merge_rows,
    to_float32,
)
from lfwrap_worker.export.tensor_files import (
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

_MAX_PROCESSES = 16
_STEP_ELEMENTS = 2 << 20
_COPY_ELEMENTS = 128 << 20
_FILES_AT_ONCE = 4


class Task(NamedTuple):
    """What one process does in one go: some rows of a tensor of a file, which starts ``offset`` bytes into its data."""

    number: int
    file: ShardFile
    tensor: Tensor
    offset: int
    rows: range
    columns: int


class Memory:
    """The buffers of one process, used again and again: fresh pages cost more than the arithmetic done in them."""

    def __init__(self) -> None:
        self._bytes: dict[str, Array] = {}

    def take(self, purpose: str, size_bytes: int) -> Array:
        """So many bytes, until the same purpose wants some again; what stands in them is of the time before."""
        if purpose not in self._bytes or self._bytes[purpose].size < size_bytes:
            self._bytes[purpose] = np.empty(size_bytes, np.uint8)
        return self._bytes[purpose][:size_bytes]


class Sources:
    """Files of tensors, open for reading from several processes."""

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, paths: set[Path]) -> None:
        """Open files before the processes start. Raises OSError."""
        for path in paths:
            self._descriptors[path] = os.open(path, os.O_RDONLY)

    def read(self, tensor: Tensor, first: int, out: Array) -> None:
        """Fill ``out`` with the stored bytes of a tensor from element ``first`` on. Raises OSError, also at an end."""
        view, place = out.data, tensor.start + first * WIDTHS[tensor.stored]
        while view:
            count = os.preadv(self._descriptors[tensor.source], [view], place)
            if count == 0:
                raise OSError(f"{tensor.source}: ends in the middle of {tensor.name}")
            view, place = view[count:], place + count

    def values(self, tensor: Tensor, memory: Memory, rows: range | None = None) -> Array:
        """A matrix, or some of its rows, in fp32; good until the process reads others of the same last dimension."""
        height = rows or range(tensor.shape[0])
        shape = (len(height), tensor.shape[1])
        kind = "down" if rows is None else "up"
        content = memory.take(f"{kind} as stored", math.prod(shape) * WIDTHS[tensor.stored])
        self.read(tensor, height.start * tensor.shape[1], content)
        wide = memory.take(kind, math.prod(shape) * WIDTHS["F32"]).view(np.float32).reshape(shape)
        return to_float32(as_array(content, tensor.stored).reshape(shape), tensor.stored, wide)


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
    """Seconds of one process, by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: collections.Counter[str] = collections.Counter()
        self._now_s = time.perf_counter()

    def spent(self, what: str) -> None:
        """Put the time since the last call down to something."""
        before_s, self._now_s = self._now_s, time.perf_counter()
        self.seconds[what] += self._now_s - before_s  # type: ignore[assignment]  # seconds, not a count


class Merger:
    """One process's work, with memory of its own."""

    def __init__(self, sources: Sources, adapter: Adapter) -> None:
        self._sources, self._adapter = sources, adapter
        self._memory, self._scratch = Memory(), Scratch()
        self._clock = Clock()

    def run(self, tasks: Sequence[Task], numbers: Iterator[int], tell: Callable[[dict[str, Any]], None]) -> None:
        """Do tasks by their numbers; tells which file got how many bytes, and at the end how long what took."""
        for number in numbers:
            for size_bytes in self._do(tasks[number]):
                tell({"file": tasks[number].number, "bytes": size_bytes})
        tell({"seconds": self._clock.seconds})

    def _do(self, task: Task) -> Iterator[int]:
        tensor, pair = task.tensor, self._adapter.pairs.get(task.tensor.name)
        down = self._sources.values(pair["A"], self._memory) if pair else np.empty(0)
        step = max(1, _STEP_ELEMENTS // max(1, task.columns))
        for top in range(task.rows.start, task.rows.stop, step):
            rows = range(top, min(top + step, task.rows.stop))
            count, first = len(rows) * task.columns, rows.start * task.columns
            raw = self._memory.take("raw", count * WIDTHS[tensor.stored])
            self._sources.read(tensor, first, raw)
            up = self._sources.values(pair["B"], self._memory, rows) if pair else None
            share = None if up is None else Share(down, up, self._adapter.scale)
            self._clock.spent("read_s")
            made = raw if share is None and tensor.stored == tensor.code else self._merge(task, raw, len(rows), share)
            self._clock.spent("merge_s")
            task.file.write(tensor.name, first * WIDTHS[tensor.code], made.data)
            self._clock.spent("write_s")
            yield made.size

    def _merge(self, task: Task, raw: Array, rows: int, share: Share | None) -> Array:
        tensor, shape = task.tensor, (rows, task.columns) if share else (1, rows * task.columns)
        made = self._memory.take("made", rows * task.columns * WIDTHS[tensor.code])
        weight = as_array(raw, tensor.stored).reshape(shape)
        merge_rows(
            weight, as_array(made, tensor.code).reshape(shape), (tensor.stored, tensor.code), share, self._scratch
        )
        return made


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
        for number in range(start, min(start + _FILES_AT_ONCE, len(files))):
            offset = 0
            for tensor in shards[number]:
                tasks += _tasks_of(number, files[number], tensor, offset, whole=tensor.name in merged)
                offset += tensor.size_bytes
        yield from sorted(tasks, key=lambda task: task.offset)


def _tasks_of(number: int, file: ShardFile, tensor: Tensor, offset: int, *, whole: bool) -> Iterator[Task]:
    if whole:
        yield Task(number, file, tensor, offset, range(tensor.shape[0]), tensor.shape[1])
        return
    for first in range(0, tensor.elements, _COPY_ELEMENTS):
        rows = range(first, min(first + _COPY_ELEMENTS, tensor.elements))
        yield Task(number, file, tensor, offset + first * WIDTHS[tensor.code], rows, 1)


def merge(job: MergeJob) -> dict[str, Any]:
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
    seconds = run_tasks(files, list(plan_tasks(files, shards, set(adapter.pairs))), sources, adapter)
    if len(shards) > 1:
        write_index(out, names, shards)
    seconds["wall_s"] = time.monotonic() - begun_s
    timing = {name: round(value, 2) for name, value in seconds.items()}
    return {
        "event": EVENT_DONE,
        "tensors": len(tensors),
        "merged": len(adapter.pairs),
        "files": names,
        "timing": timing,
    }


def run_tasks(
    files: Sequence[ShardFile], tasks: Sequence[Task], sources: Sources, adapter: Adapter
) -> dict[str, float]:
    """Merge and write it all, to the disk; returns what it took. Raises OSError and TaskFailedError."""
    seconds: collections.Counter[str] = collections.Counter()

    def hear(report: dict[str, Any]) -> None:
        """Add up what a process reports: bytes written, or its times."""
        if "seconds" in report:
            seconds.update(report["seconds"])
        else:
            files[report["file"]].written(report["bytes"])

    def work(numbers: Iterator[int], tell: Callable[[dict[str, Any]], None]) -> None:
        """Merge the tasks of these numbers in this process."""
        Merger(sources, adapter).run(tasks, numbers, tell)

    processes = min(process_count(), len(tasks))
    try:
        for file in files:
            file.open()
        do_tasks(len(tasks), processes, work, hear)
        written_s = time.monotonic()
        for file in files:
            file.finish()
    finally:
        for file in files:
            file.abandon()
    return {**seconds, "sync_s": time.monotonic() - written_s, "processes": float(processes), **_used()}


def _used() -> dict[str, float]:
    """What the processes that have ended took of the machine: seconds of cores, and pages that they had to be given."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"user_s": used.ru_utime, "system_s": used.ru_stime, "minor_faults": float(used.ru_minflt)}


def process_count() -> int:
    """One for each core, and two that may wait for the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_PROCESSES, cores + 2)


def main() -> int:
    """Do one merge; returns the exit code."""
    return run_job(lambda requests: merge(next(requests)))
