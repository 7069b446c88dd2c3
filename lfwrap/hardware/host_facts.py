"""Conditions of the host that disturb a run: a full disk, the kernel's out-of-memory killer, other busy programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")
_RESERVE_BYTES = 256 << 10
_FULL_BYTES = 1 << 20
_LOOK_S = 0.2
_BUSY_CORES = 0.3


def oom_kills(events: Path = _MEMORY_EVENTS) -> int:
    """How often the kernel has killed a process of this control group for lack of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in events.read_text(encoding="ascii").splitlines():
            name, count = line.split()
            if name == "oom_kill":
                return int(count)
    return 0


def is_disk_full(folder: Path) -> bool:
    """Whether the disk of this folder has less than 1 MiB free, too little even for a log."""
    return shutil.disk_usage(folder).free < _FULL_BYTES


def has_busy_neighbours(look_s: float = _LOOK_S) -> bool:
    """Whether other programs use more than 30% of a core, measured over ``look_s`` seconds."""
    import psutil

    before = psutil.cpu_times()
    time.sleep(look_s)
    after = psutil.cpu_times()
    idle_s = sum(getattr(after, name, 0.0) - getattr(before, name, 0.0) for name in ("idle", "iowait"))
    busy_s = sum(after) - sum(before) - idle_s
    return busy_s > _BUSY_CORES * look_s


@contextlib.contextmanager
def disk_reserve(folder: Path) -> Iterator[Path]:
    """Reserve some room on the disk for a ``with`` block, so that a failure in it can still be recorded afterwards.

    The engine fills a disk to the last byte when it saves; the record of that still has to fit.
    """
    reserve = folder / ".reserve"
    with contextlib.suppress(OSError), reserve.open("wb") as sink:
        sink.write(b"\0" * _RESERVE_BYTES)
        sink.flush()
        os.fsync(sink.fileno())
    try:
        yield reserve
    finally:
        reserve.unlink(missing_ok=True)
