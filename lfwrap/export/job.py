"""One export under way: each format made by its own module, then compared, then written up."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.export.files import ExportFiles, FilesJob
from lfwrap.export.formats.adapter import name_base, write_adapter
from lfwrap.export.formats.gguf import GgufTools, fallback_note, write_gguf
from lfwrap.export.formats.gguf_parity import GgufReport, measure_gguf, require_gguf
from lfwrap.export.formats.gptq import readable_on_cpu, write_gptq
from lfwrap.export.formats.ollama import ollama_name, write_modelfile
from lfwrap.export.merging import MergeSettings, check_model_folder, move_into, write_merged
from lfwrap.export.model_card import render_card
from lfwrap.export.options import CARD, FORMATS, NOTE, Export, ExportOptions
from lfwrap.files import write_json, write_text
from lfwrap.inference.parity import (
    Comparison,
    ComparisonJob,
    ParityReport,
    Side,
    exported_side,
    require_parity,
    trained_side,
)
from lfwrap.inference.spare_gpu import choose_gpu
from lfwrap.inference.target import Target
from lfwrap.model.folder import ModelFolder
from lfwrap.units import format_bytes

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportOrder:
    """What is to be exported, all checks passed.

    Attributes:
        engine: the engine.
        target: what is exported.
        out: the final folder.
        options: how.
        say: takes a line for the person.
        tools: what makes GGUF files; None where none are made.
        notes: what the checks found.
    """

    engine: Engine
    target: Target
    out: Path
    options: ExportOptions
    say: Say
    tools: GgufTools | None
    notes: Sequence[str]


class ExportWork:
    """One export, under way: each part is made when something needs it."""

    def __init__(self, order: ExportOrder, scratch: Path) -> None:
        self._engine, self._target, self._options = order.engine, order.target, order.options
        self._say, self._tools, self._out = order.say, order.tools, order.out
        self._notes = list(order.notes)
        self._scratch = scratch
        self.stage = scratch / "model"
        self.stage.mkdir()
        self._name = order.options.name or order.out.name
        self._products: list[dict[str, Any]] = []
        self._seconds = 0.0
        self._started_s = time.monotonic()
        self._timing: dict[str, Any] = {}
        self._parity_lines: list[str] = []

    def run(self) -> Export:
        """Make every format, compare, and write what is to be known of it."""
        # Tokenizer and template take the engine's start of some seconds: meanwhile the weights are merged.
        with self._reference() as ahead:
            with FilesJob(self._engine, self._target, self._scratch / "files") as self._files_job:
                for format_name in FORMATS:
                    if format_name in self._options.formats:
                        getattr(self, f"_make_{format_name}")()
            with self._timed("comparison_s"):
                parity, comparisons = self._compare(ahead) if self._options.parity else (None, {})
        return self._note(parity, comparisons)

    @contextlib.contextmanager
    def _reference(self) -> Iterator[ComparisonJob | None]:
        """Base + adapter being asked while the weights are merged, where a GPU that nothing else here needs has room.

        On a CPU both would only slow each other down.
        """
        busy = self._options.device != "cpu" or "gptq" in self._options.formats
        devices = self._choose_devices() if self._options.parity and not busy else None
        if not devices:
            yield None
            return
        with self._comparison_job(devices) as job:
            yield job

    def _comparison_job(self, devices: str | None) -> ComparisonJob:
        questions = self._options.questions
        return ComparisonJob(self._engine, self._target, self.dtype, questions=questions, devices=devices)

    def _choose_devices(self) -> str | None:
        """The GPU to compare on; empty when none has room, None where there is none."""
        size = self._target.base.weight_bytes() if self._target.base else 0
        devices, free_bytes = choose_gpu(size)
        if devices == "":
            self._say(
                f"no GPU has room for {format_bytes(size)} ({format_bytes(free_bytes)} free): comparing on the CPU"
            )
        return devices

    def _folder(self, format_name: str) -> Path:
        """Where a format goes: the first takes the folder itself, the others lie in folders of their own."""
        shown = ["gguf" if name == "ollama" else name for name in self._options.formats]
        first = next(name for name in FORMATS if name in shown)
        return self.stage if format_name == first else self.stage / format_name

    @cached_property
    def files(self) -> ExportFiles:
        """Tokenizer, chat template and what other runtimes ask; written by the engine."""
        with self._timed("wait_for_files_s"):
            files = self._files_job.result()
        self._timing["files"] = dict(files.timing)
        self._say(files.chat_template.summary())
        return files

    @cached_property
    def dtype(self) -> str:
        """Of the merged weights. Those that only GGUF files are made from keep more digits than bf16 has."""
        only_source = "merged" not in self._options.formats and self._options.dtype == "bfloat16"
        return "float16" if only_source else self._options.dtype

    @cached_property
    def merged(self) -> Path:
        """The merged model: under its final name when it was asked for, else for what is made from it."""
        folder = self._scratch / "merged"
        self._say(f"merging into {self.dtype} weights" if self._target.adapter else f"writing {self.dtype} weights")
        options = self._options
        settings = MergeSettings(self.dtype, options.shard_gb, options.device, options.merger)
        merged = write_merged(self._engine, self._target, folder, settings, self._scratch)
        self._how, self._seconds = merged.by, merged.seconds
        self._timing |= {"weights_s": merged.seconds, "weights": dict(merged.timing)}
        folder.mkdir(exist_ok=True)
        (folder / "Modelfile").unlink(missing_ok=True)
        self.files.copy_to(folder)
        check_model_folder(folder)
        return folder

    def _make_merged(self) -> None:
        move_into(self.merged, self.stage)
        self.merged = self.stage
        size = ModelFolder(self.stage).weight_bytes()
        self._products.append({"format": "merged", "folder": ".", "weights_bytes": size, "merged_by": self._how})
        write_modelfile(self.stage, ".", self.files, name=self._name, template=self._target.template, model=self.stage)

    def _make_adapter(self) -> None:
        folder = self._folder("adapter")
        base = name_base(self._target, self._options.base_name)
        self._notes += write_adapter(self._target, folder, base)
        for path in self.files.folder.iterdir():
            shutil.copyfile(path, folder / path.name)
        self._products.append({"format": "adapter", "folder": self._relative(folder), "base_model": base})
        self._parity_lines.append("adapter: the weights are, byte for byte, those that were trained")

    def _make_gptq(self) -> None:
        assert self._options.calibration is not None  # noqa: S101 - checked before
        folder, bits = self._scratch / "gptq", self._options.gptq_bits
        self._say(f"quantising to {bits} bits with GPTQ")
        write_gptq(
            self._engine, self._target, self.merged, folder, bits=bits, calibration=self._options.calibration,
            scratch=self._scratch,
        )  # fmt: skip
        (folder / "Modelfile").unlink(missing_ok=True)
        self.files.copy_to(folder)
        check_model_folder(folder)
        self._gptq = self._folder("gptq")
        move_into(folder, self._gptq)
        self._products.append({"format": "gptq", "folder": self._relative(self._gptq), "bits": bits})

    def _make_gguf(self) -> None:
        if self._ggufs:
            sizes = {kind: path.stat().st_size for kind, path in self._ggufs.items()}
            self._products.append({"format": "gguf", "folder": self._relative(self._folder("gguf")), "files": sizes})

    @cached_property
    def _ggufs(self) -> dict[str, Path]:
        assert self._tools is not None  # noqa: S101 - checked before
        kinds, model = self._options.gguf, self.merged
        self._say(f"writing GGUF: {', '.join(kinds)}")
        name = ollama_name(self._name)
        note = fallback_note(model, kinds)
        self._notes += [note] if note else []
        with self._timed("gguf_s"):
            return write_gguf(self._tools, model, self._folder("gguf"), name, kinds, scratch=self._scratch)

    def _make_ollama(self) -> None:
        kind, path = next(reversed(self._ggufs.items()))  # the last named is the smallest as a rule
        write_modelfile(
            path.parent, path.name, self.files, name=self._name, template=self._target.template, model=self.merged
        )
        self._products.append({"format": "ollama", "folder": self._relative(path.parent), "from": kind})
        if not self.files.ollama_has_tools:
            self._notes.append(
                "Ollama's template has no tools: this template's way of writing them can't be said there"
            )

    def _relative(self, folder: Path) -> str:
        return str(folder.relative_to(self.stage))

    def _compare(self, ahead: ComparisonJob | None) -> tuple[ParityReport | None, dict[str, Any]]:
        """Hold everything that was made against base + adapter; raises EngineError for what differs."""
        self._say(f"comparing answers and logits on {len(self._options.questions)} questions")
        if ahead is not None:
            comparison = ahead.compare(self._sides(on_gpu=True))
        else:
            devices = self._choose_devices()
            with self._comparison_job(devices) as job:
                comparison = job.compare(self._sides(on_gpu=bool(devices)))
        self._timing["comparison"] = dict(comparison.timing)
        merged = comparison.reports.get("merged")
        if merged is not None:
            require_parity(merged)
            self._parity_lines.append(f"merged: {merged.summary()}")
        found = {name: comparison.reports[name].effect() for name in ("trained", "gptq") if name in comparison.reports}
        if "trained" in found:
            self._notes.append(_quantization_effect(found["trained"]))
        if "gptq" in found:
            self._parity_lines.append(f"gptq: {comparison.reports['gptq'].agreement.summary()}")
        ggufs = {kind: report.to_json() for kind, report in self._compare_ggufs(comparison)}
        return merged, {"gguf": ggufs or None, "gptq": found.get("gptq"), "quantized_base": found.get("trained")}

    def _sides(self, *, on_gpu: bool) -> dict[str, Side]:
        sides = {}
        if "merged" in self._options.formats:
            sides["merged"] = exported_side(self._target, str(self.stage))
        if self._target.quantization and self._target.adapter:
            sides["trained"] = trained_side(self._target)
        if "gptq" in self._options.formats:
            folder = self._gptq if on_gpu else readable_on_cpu(self._gptq, self._scratch / "gptq-cpu")
            sides["gptq"] = exported_side(self._target, str(folder), quantized=True)
        return sides

    def _compare_ggufs(self, comparison: Comparison) -> Iterator[tuple[str, GgufReport]]:
        if not self._options.wants_gguf:
            return
        template = self.files.chat_template
        for kind, path in self._ggufs.items():
            self._say(f"asking {path.name} in llama.cpp")
            with self._timed("llama_cpp_s"):
                report = measure_gguf(
                    self._engine,
                    path,
                    comparison.reference,
                    kind=kind,
                    merged_dtype=self.dtype,
                    stop_ids=self.files.stop_ids,
                    same_chat_template="a question" in template.same,
                )
            require_gguf(report, path)
            self._parity_lines.append(report.summary())
            yield kind, report

    def _note(self, parity: ParityReport | None, comparisons: dict[str, Any]) -> Export:
        """Write the model card and ``export.json``."""
        name, base = self._name, name_base(self._target, self._options.base_name)
        compared = [] if self._options.parity else ["the weights were not compared (`--no-parity`)"]
        lines = [*self._parity_lines, *compared, self.files.chat_template.summary()]
        card = render_card(
            self._target, self.stage, name=name, base=base, products=self._products, parity=lines,
            notes=self._notes, evaluation=self._options.evaluation,
        )  # fmt: skip
        write_text(self.stage / CARD, card)
        paths = [path for path in self.stage.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in paths if path.suffix in {".safetensors", ".gguf", ".bin"})
        details = {
            "name": name,
            "formats": self._products,
            "chat_template": self.files.chat_template.to_json(),
            "comparisons": comparisons,
            "summary": self._parity_lines,
            "timing": self._timing_so_far(),
        }
        files = tuple(sorted({str(path.relative_to(self.stage)) for path in paths} | {NOTE}))
        export = Export(
            self._out, self._target, self.dtype, size, files, parity, tuple(self._notes), self._seconds, details
        )
        write_json(self.stage / NOTE, {"schema": "lfwrap.export/1", **export.to_json()})
        return export

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._timing[what] = self._timing.get(what, 0.0) + time.monotonic() - started_s

    def _timing_so_far(self) -> dict[str, Any]:
        """Where the time went, from the end of the checks to the writing of the card."""
        self._timing["total_s"] = time.monotonic() - self._started_s
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in self._timing.items()}


def _quantization_effect(effect: dict[str, Any]) -> str:
    return (
        f"the quantised base + adapter that was trained gives {effect['same_answers']} of {effect['questions']} of the "
        f"same greedy answers as the 16-bit base + adapter that ships; {effect['top_token_agreement']:.1%} of tokens "
        f"agree, logits differ by {effect['mean_abs_logit_difference']:.2g} on average"
    )
