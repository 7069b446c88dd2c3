"""The first and the last training loss of a run, without reading all that lies between."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lfwrap.run.monitor import Progress, parse_progress

_END_BYTES = 16 << 10


def read_ends(trainer_log: Path) -> tuple[Progress, Progress] | None:
    """The first and the last entry with a training loss; None when there is none, or no log yet.

    Only the log's first and last 16 KiB are looked at: a list of hundreds of long runs takes no time.
    """
    try:
        with trainer_log.open("rb") as source:
            head = source.read(_END_BYTES)
            size_bytes = source.seek(0, 2)
            source.seek(max(0, size_bytes - _END_BYTES))
            tail = source.read(_END_BYTES)
    except OSError:
        return None
    first = next(iter(_losses(head.splitlines())), None)
    last = next(iter(_losses(reversed(tail.splitlines()))), None)
    return (first, last) if first is not None and last is not None else None


def _losses(lines: Iterable[bytes]) -> Iterable[Progress]:
    for line in lines:
        entry = parse_progress(line.decode("utf-8", errors="replace"))
        if entry is not None and entry.loss is not None:
            yield entry
