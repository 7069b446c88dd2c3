"""How far a run is, read from the files that the engine appends to.

Progress comes from ``output/trainer_log.jsonl``; what happens before the first update from the engine's own log lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.run.folder.health import to_number
from lfwrap.run.folder.paths import AttemptPaths, RunPaths

_STEP_KEYS = ("current_steps", "total_steps")


class LineBuffer:
    """Turns pieces of text, cut anywhere, into whole lines."""

    def __init__(self) -> None:
        """Start with no unfinished line."""
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this piece completes, without their ends; a carriage return ends a line as well."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r", b"\n").split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in lines if line]


class FileTail:
    """Reads what has been appended to a file since the last look; the file need not exist yet."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        """Read from the file's beginning, or from its present end."""
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0
        self._lines = LineBuffer()

    def read_lines(self) -> list[str]:
        """The lines completed since the last call; a file that has shrunk is read again from its beginning."""
        try:
            with self._path.open("rb") as source:
                if source.seek(0, 2) < self._offset:
                    self._offset, self._lines = 0, LineBuffer()
                source.seek(self._offset)
                chunk = source.read()
        except OSError:
            return []
        self._offset += len(chunk)
        return self._lines.feed(chunk)


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the engine's log.

    Attributes:
        step: updates done.
        total_steps: updates wanted.
        loss: training loss, None in lines without one.
        eval_loss: loss on the evaluation data, likewise.
        learning_rate: at this update.
        epoch: passes over the data, fractional.
        tokens: input tokens seen so far, padding included; None when the engine does not count them.
    """

    step: int
    total_steps: int
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    epoch: float | None = None
    tokens: int | None = None


def parse_progress(line: str) -> Progress | None:
    """A line of ``trainer_log.jsonl``; None for anything else, such as a line cut off by a full disk.

    >>> parse_progress('{"current_steps": 10, "total_steps": 90, "loss": 1.5, "epoch": 0.3}').loss
    1.5
    >>> parse_progress('{"current_steps": 10, "tot') is None
    True
    """
    try:
        entry: Any = load_line(line)
        step, total = (int(entry[key]) for key in _STEP_KEYS)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    tokens = entry.get("total_tokens")
    return Progress(
        step=step,
        total_steps=total,
        loss=to_number(entry.get("loss")),
        eval_loss=to_number(entry.get("eval_loss")),
        learning_rate=to_number(entry.get("lr")),
        epoch=to_number(entry.get("epoch")),
        tokens=tokens if isinstance(tokens, int) else None,
    )


def load_line(line: str) -> Any:
    """JSON as Python writes it: a loss that is no number stands as NaN there, which orjson refuses.

    Raises:
        ValueError, RecursionError: it is no JSON.

    >>> load_line('{"loss": NaN}')
    {'loss': nan}
    """
    return json.loads(line) if "NaN" in line or "Infinity" in line else orjson.loads(line)


def load_history(trainer_log: Path) -> list[Progress]:
    """The training losses of a run, one entry a step, ascending.

    The engine appends to its log when it resumes: of a step that was done twice, the later entry counts.
    """
    by_step: dict[int, Progress] = {}
    for line in FileTail(trainer_log).read_lines():
        entry = parse_progress(line)
        if entry is not None and entry.loss is not None:
            by_step[entry.step] = entry
    return [by_step[step] for step in sorted(by_step)]


TRAINING = "training"
# What the engine prints → what it is doing, in the order of a run: lines of stdout and stderr reach us out of order.
_PHASES = (
    (re.compile(r"Initializing \d+ distributed tasks"), "starting the processes"),
    (re.compile(r"Process rank: \d+"), "reading the tokenizer"),
    (re.compile(r"Loading dataset "), "reading the data"),
    (re.compile(r"Converting format of dataset|Running tokenizer on"), "tokenising the data"),
    (
        re.compile(r"training example|Loading checkpoint shards|Loading weights|loading weights file"),
        "loading the model",
    ),
    (re.compile(r"Fine-tuning method: |trainable params: "), "preparing the model"),
    (re.compile(r"Resuming training from|Continuing training from"), "reading the checkpoint"),
    (re.compile(r"\*{5} Running training \*{5}"), TRAINING),
    (re.compile(r"SIGTERM received"), "saving a checkpoint"),
    (re.compile(r"Training completed"), "saving the result"),
)
STARTING = "starting the engine"
_ORDER = (STARTING, *(phase for _, phase in _PHASES))


def detect_phase(line: str) -> str | None:
    """What a line of the engine's log says it is doing now, or None."""
    return next((phase for pattern, phase in _PHASES if pattern.search(line)), None)


class RunMonitor:
    """Reads a running attempt: what the engine is doing, and every new entry of its log; phases only go forward."""

    def __init__(
        self, run: RunPaths, attempt: AttemptPaths, *, on_line: Callable[[str], None] = lambda _: None
    ) -> None:
        """Follow ``attempt`` from its start; entries of earlier attempts are passed over.

        Args:
            run: the run.
            attempt: its last start.
            on_line: called with each line that the engine prints.
        """
        self._log = FileTail(run.trainer_log, from_end=True)
        first = attempt.rank(0)
        self._texts = tuple(map(FileTail, (attempt.stdout, attempt.stderr, first.stdout, first.stderr)))
        self._on_line = on_line
        self.phase = STARTING

    def poll(self) -> Iterator[str | Progress]:
        """What is new since the last call: phases as text, then progress."""
        for line in self._log.read_lines():
            entry = parse_progress(line)
            if entry is not None:
                yield entry
        for line in (line for text in self._texts for line in text.read_lines()):
            self._on_line(line)
            phase = detect_phase(line)
            if phase is not None and _ORDER.index(phase) > _ORDER.index(self.phase):
                self.phase = phase
                yield phase
