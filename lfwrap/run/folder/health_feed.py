"""The lines of a running training's log as samples: from what the ranks leave, or from what the plain engine prints."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.run.folder.health import Sample, parse_sample, to_number
from lfwrap.run.folder.monitor import FileTail, Progress
from lfwrap.run.folder.paths import AttemptPaths

_PRINTED = re.compile(r"\{'loss': [^{}]{1,2000}\}")
_PATIENCE = 8
"""So many further entries may come before one is taken without its printed line."""


def parse_printed(line: str) -> dict[str, Any] | None:
    """The values of a line that the trainer prints for an entry of its log; None for any other line.

    >>> parse_printed("{'loss': '5.646', 'grad_norm': '0.2412', 'epoch': '0.125'}")["grad_norm"]
    '0.2412'
    """
    found = _PRINTED.search(line) if "'loss'" in line else None
    if found is None:
        return None
    try:
        value = ast.literal_eval(found[0].replace(": nan", ": 'nan'").replace(": inf", ": 'inf'"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


class PrintedJoiner:
    """Joins entries of ``trainer_log.jsonl``, which know the update, with printed lines, which know the gradients."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._entries: deque[Progress] = deque()
        self._printed: deque[Mapping[str, Any]] = deque(maxlen=1000)

    def add_entry(self, entry: Progress) -> None:
        """An entry of the log, in their order."""
        self._entries.append(entry)

    def add_line(self, line: str) -> None:
        """A line of the engine's stdout; any but those of log entries are passed over."""
        values = parse_printed(line)
        if values is not None:
            self._printed.append(values)

    def take(self, *, is_over: bool = False) -> Iterator[Sample]:
        """The samples that are whole by now; at the end those that never will be, too."""
        while self._entries:
            entry = self._entries[0]
            printed = self._match(entry)
            if printed is None and entry.loss is not None and not is_over and len(self._entries) <= _PATIENCE:
                return
            self._entries.popleft()
            norm = to_number((printed or {}).get("grad_norm"))
            yield dataclasses.replace(sample_of(entry), grad_norm=norm)

    def _match(self, entry: Progress) -> Mapping[str, Any] | None:
        """The printed line of an entry: the first with its loss and epoch, to the digits that are printed."""
        if entry.loss is None:
            return None
        for number, printed in enumerate(self._printed):
            if _is_close(printed.get("loss"), entry.loss) and _is_close(printed.get("epoch"), entry.epoch):
                for _ in range(number + 1):
                    self._printed.popleft()
                return printed
        return None


def _is_close(printed: Any, value: float | None) -> bool:
    number = to_number(printed)
    if number is None or value is None:
        return True
    return number == value or math.isclose(number, value, rel_tol=1e-3) or (math.isnan(number) and math.isnan(value))


def sample_of(entry: Progress) -> Sample:
    """An entry of the engine's own log as a sample."""
    return Sample(
        step=entry.step,
        total_steps=entry.total_steps,
        loss=entry.loss,
        eval_loss=entry.eval_loss,
        learning_rate=entry.learning_rate,
        epoch=entry.epoch,
    )


class RankFeed:
    """Reads what the ranks of an attempt leave: the first one's lines, with the memory and load of them all."""

    def __init__(self, attempt: AttemptPaths) -> None:
        """Read from the beginning."""
        self._attempt = attempt
        self._tails: dict[int, FileTail] = {}
        self._loads: dict[int, Sample] = {}

    @property
    def is_there(self) -> bool:
        """Whether the first rank leaves anything: the plain engine does not."""
        return 0 in self._tails or self._attempt.rank(0).health.exists()

    def read(self) -> Iterator[Sample]:
        """The new lines of the first rank."""
        if not self.is_there:
            return
        for rank in self._attempt.ranks():
            tail = self._tails.setdefault(rank.number, FileTail(rank.health))
            for sample in filter(None, map(parse_sample, tail.read_lines())):
                if sample.rss_bytes is not None or sample.memory_bytes is not None:
                    self._loads[rank.number] = sample
                if rank.number == 0 and (sample.loss is not None or sample.eval_loss is not None):
                    yield dataclasses.replace(sample, **self._load())

    def _load(self) -> dict[str, Any]:
        """The fullest GPU, the mean of the ranks' utilisation, the sums of main memory and of cores."""
        loads = self._loads.values()
        memory = [each.memory_bytes for each in loads if each.memory_bytes is not None]
        reserved = [each.reserved_bytes for each in loads if each.reserved_bytes is not None]
        busy = [each.busy_percent for each in loads if each.busy_percent is not None]
        rss = [each.rss_bytes for each in loads if each.rss_bytes is not None]
        cores = [each.cpu_cores for each in loads if each.cpu_cores is not None]
        return {
            "memory_bytes": max(memory, default=None),
            "reserved_bytes": max(reserved, default=None),
            "busy_percent": sum(busy) / len(busy) if busy else None,
            "rss_bytes": sum(rss) or None,
            "cpu_cores": sum(cores) if cores else None,
        }
