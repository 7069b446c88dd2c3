"""One export while it is made: what its formats are made from, where they go, and what is recorded of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.export.files import ExportFiles, FilesJob
from lfwrap.export.merging import check_model_folder, move_into, write_merged
from lfwrap.export.options import ExportOptions
from lfwrap.inference.parity import ParityComparison, Side
from lfwrap.inference.target import Target

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """An export that has passed all checks.

    Attributes:
        engine: the engine.
        target: what is exported.
        out: the final folder.
        options: how.
        main_format: the format that takes the folder itself; each other one lies in a folder of its name.
        say: takes a line for the person.
        notes: what the checks found.
    """

    engine: Engine
    target: Target
    out: Path
    options: ExportOptions
    main_format: str
    say: Say
    notes: Sequence[str]

    @property
    def name(self) -> str:
        """The model's name: as asked for, else that of the folder."""
        return self.options.name or self.out.name


@dataclass(slots=True)
class ExportRecord:
    """What is recorded of an export, collected while it is made.

    Attributes:
        notes: what one should know about it.
        products: an entry for each format, as in ``export.json``.
        summary: what the comparisons found, one line each.
        timing: seconds by what took them; also the timings that the workers report.
        merge_seconds: how long the merge took; 0 where nothing was merged.
        started_s: when the checks were over, on the monotonic clock.
    """

    notes: list[str]
    products: list[dict[str, Any]] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)
    timing: dict[str, Any] = field(default_factory=dict)
    merge_seconds: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds that the block takes to those of ``what``."""
        started_s = time.monotonic()
        yield
        self.timing[what] = self.timing.get(what, 0.0) + time.monotonic() - started_s

    def timing_so_far(self) -> dict[str, Any]:
        """Where the time went, from the end of the checks until now."""
        self.timing["total_s"] = time.monotonic() - self.started_s
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in self.timing.items()}


@dataclass(frozen=True, slots=True)
class MergedModel:
    """Merged weights with tokenizer and configs.

    Attributes:
        folder: where they lie.
        by: ``tensor by tensor``, or ``llamafactory-cli export``.
    """

    folder: Path
    by: str


class ExportJob:
    """What the formats of one export share; each part is made once, when a format first asks for it.

    Attributes:
        order: what is to be exported.
        record: what is to be known of it.
        scratch: for what does not ship.
        stage: the folder that gets the final name.
        ggufs: GGUF type → file, as soon as they are written.
    """

    def __init__(self, order: ExportOrder, record: ExportRecord, scratch: Path, files_job: FilesJob) -> None:
        self.order = order
        self.record = record
        self.scratch = scratch
        self.stage = scratch / "model"
        self.stage.mkdir()
        self.ggufs: dict[str, Path] = {}
        self._files_job = files_job
        self._files: ExportFiles | None = None
        self._merged: MergedModel | None = None

    def folder(self, format_name: str) -> Path:
        """The folder that a format is written into."""
        return self.stage if format_name == self.order.main_format else self.stage / format_name

    def relative(self, folder: Path) -> str:
        """A folder of the export as ``export.json`` names it."""
        return str(folder.relative_to(self.stage))

    def files(self) -> ExportFiles:
        """Tokenizer, chat template and what other runtimes ask; waits for the engine, which writes them.

        Raises:
            EngineError: no tokenizer can be loaded, or the engine knows no such template.
        """
        if self._files is None:
            with self.record.timed("wait_for_files_s"):
                self._files = self._files_job.result()
            self.record.timing["files"] = dict(self._files.timing)
            self.order.say(self._files.chat_template.summary())
        return self._files

    def merged(self) -> MergedModel:
        """The merged model: under its final name when it was asked for, else for what is made from it.

        Raises:
            EngineError: the engine failed, or the disk is full.
            PreflightError: it left something out.
        """
        if self._merged is None:
            self._merged = self._merge()
        return self._merged

    def _merge(self) -> MergedModel:
        order, folder = self.order, self.scratch / "merged"
        dtype = order.options.merged_dtype
        order.say(f"merging into {dtype} weights" if order.target.adapter else f"writing {dtype} weights")
        done = write_merged(order.engine, order.target, folder, order.options, self.scratch)
        self.record.merge_seconds = done.seconds
        self.record.timing |= {"weights_s": done.seconds, "weights": dict(done.timing)}
        if "merged" not in order.options.formats:
            self.finish(folder)
            return MergedModel(folder, done.by)
        self.finish(folder, self.stage)
        return MergedModel(self.stage, done.by)

    def finish(self, folder: Path, final: Path | None = None) -> None:
        """Put tokenizer and configs beside weights that the engine wrote, see that all is there, and move it.

        Args:
            folder: the weights.
            final: where the model goes; None leaves it.

        Raises:
            PreflightError: a part is missing.
        """
        folder.mkdir(exist_ok=True)
        (folder / "Modelfile").unlink(missing_ok=True)
        self.files().copy_to(folder)
        check_model_folder(folder)
        if final is not None:
            move_into(folder, final)


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """One format of an export: what it needs, how it is made, and what holds it to what was trained.

    Attributes:
        name: as ``--format`` takes it.
        make: writes it; returns its entry for ``export.json``.
        check: finds what would keep it from being made, before anything starts (PreflightError).
        size_bytes: its size on the disk, from the size of the model's weights in 16 bits.
        needs_merge: whether it is made from merged weights.
        files_of: the format whose files it uses, for checks, folder and comparison; empty for its own.
        side: the model to compare with the reference, on a GPU or not; None where there is none.
        judge: holds a comparison to what was trained (EngineError); returns what ``export.json`` says of it.
        publish: what is left to do when the export has its name, given its entry and final folder.
    """

    name: str
    make: Callable[[ExportJob], dict[str, Any]]
    check: Callable[[Engine, Target, ExportOptions], object] | None = None
    size_bytes: Callable[[int, ExportOptions], int] | None = None
    needs_merge: bool = True
    files_of: str = ""
    side: Callable[[ExportJob, bool], Side] | None = None
    judge: Callable[[ExportJob, ParityComparison], dict[str, Any] | None] | None = None
    publish: Callable[[ExportOrder, Mapping[str, Any]], None] | None = None
