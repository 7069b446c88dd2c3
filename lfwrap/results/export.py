"""Merge an adapter into its base and write it out: checked before, staged, compared, and only then given its name."""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.errors import PreflightError, UsageError
from lfwrap.fsio import write_json, write_text
from lfwrap.model.hf_config import find_config
from lfwrap.results.child import child_environment, engine_failure
from lfwrap.results.merge_check import check_merge, weight_bytes
from lfwrap.results.parity import DEFAULT_QUESTIONS, ParityReport, measure_parity, require_parity
from lfwrap.results.target import MODEL_WEIGHTS, TOKENIZER_FILES, Target, check_base, has_any, load_facts_json
from lfwrap.run.diagnose import read_tail
from lfwrap.run.process import MARKER, start_child, sweep
from lfwrap.run.record import utc_now
from lfwrap.units import format_bytes
from lfwrap.yamlio import dump_yaml

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
DEFAULT_SHARD_GB = 5
_NOTE = "export.json"
_SPARE_BYTES = 64 << 20
_POLL_S = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes:
        dtype: type of the weights, as torch calls it.
        shard_gb: largest file, in GB of 10^9 bytes.
        device: ``cpu`` merges in main memory, ``auto`` on the GPU.
        parity: compare what was written with what it was made from.
        questions: what both are asked.
        force: replace an earlier export in the same folder.
    """

    dtype: str = "bfloat16"
    shard_gb: int = DEFAULT_SHARD_GB
    device: str = "cpu"
    parity: bool = True
    questions: Sequence[str] = DEFAULT_QUESTIONS
    force: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """What was written.

    Attributes:
        out: the folder.
        target: what it was made from.
        dtype: type of the weights.
        weights_bytes: size of all weight files.
        files: names of everything in the folder.
        parity: the comparison; None when it was not asked for.
        notes: what one should know about this merge.
        seconds: how long the merge took.
    """

    out: Path
    target: Target
    dtype: str
    weights_bytes: int
    files: tuple[str, ...]
    parity: ParityReport | None
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The export as it stands in ``export.json``."""
        return {
            "out": str(self.out),
            "created_at": utc_now(),
            "source": self.target.to_json(),
            "template": self.target.template,
            "dtype": self.dtype,
            "weights_bytes": self.weights_bytes,
            "files": list(self.files),
            "parity": self.parity.to_json() if self.parity else None,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 1),
        }


def export_model(engine: Engine, target: Target, out: Path, options: ExportOptions, say: Say) -> Export:
    """Write ``target`` as a whole model into ``out``.

    Nothing appears under that name before everything, the comparison included, has succeeded.

    Raises:
        PreflightError: the adapter does not belong to the base, a part is missing, or the disk is too small.
        UsageError: ``out`` holds something.
        EngineError: the engine failed, or the result does not answer as the adapter does.
    """
    out = out.expanduser().resolve()
    check_base(target)
    notes = check_merge(target)
    check_out(out, force=options.force)
    _check_space(target, out, options.dtype)
    for note in notes:
        say(note)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as folder:
        stage = Path(folder) / "model"
        started_s = time.monotonic()
        say(f"merging into {options.dtype} weights" if target.adapter else f"writing {options.dtype} weights")
        _merge(engine, target, stage, options, Path(folder))
        _check_stage(stage)
        seconds = time.monotonic() - started_s
        parity = _compare(engine, target, stage, options, say) if options.parity else None
        files = tuple(sorted({path.name for path in stage.iterdir()} | {_NOTE}))
        export = Export(out, target, options.dtype, weight_bytes(stage), files, parity, notes, seconds)
        write_json(stage / _NOTE, {"schema": "lfwrap.export/1", **export.to_json()})
        _publish(stage, out, Path(folder))
    return export


def check_out(out: Path, *, force: bool) -> None:
    """See that the folder may be written.

    Raises:
        UsageError: it is a file, or holds something; with ``force``, something that is no exported model.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file", hint="Name a folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not force:
        raise UsageError(f"{out}: not empty", hint="Name another folder, or replace it with --force.")
    if not (out / _NOTE).is_file():
        raise UsageError(
            f"{out}: holds no {_NOTE}: not an export of lfwrap's, so --force does not remove it",
            hint="Name another folder, or remove it yourself.",
        )


def merge_settings(target: Target, stage: Path, options: ExportOptions) -> dict[str, Any]:
    """The engine's YAML for the merge. The base is never quantised here: into a quantised one nothing can be merged."""
    settings = target.engine_arguments(quantized=False)
    adapters = [*target.prior_adapters, *([str(target.adapter)] if target.adapter else [])]
    if adapters:
        settings["adapter_name_or_path"] = ",".join(adapters)
    return settings | {
        "infer_dtype": options.dtype,
        "export_dir": str(stage),
        "export_size": options.shard_gb,
        "export_device": options.device,
        "export_legacy_format": False,
    }


def _merge(engine: Engine, target: Target, stage: Path, options: ExportOptions, scratch: Path) -> None:
    recipe, stdout, stderr = scratch / "export.yaml", scratch / "stdout.log", scratch / "stderr.log"
    write_text(recipe, dump_yaml(merge_settings(target, stage, options)))
    environment = child_environment(model_is_local=target.model_is_local) | {MARKER: str(scratch)}
    child = start_child(
        [str(engine.cli), "export", str(recipe)],
        cwd=scratch,
        environment=environment,
        stdout=stdout,
        stderr=stderr,
        show_example=False,
    )
    try:
        while child.poll() is None:
            time.sleep(_POLL_S)
    finally:
        sweep(child)
        child.close()
    code = child.poll() or 0
    if code:
        log = read_tail(stdout) + read_tail(stderr)
        what = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
        raise engine_failure(f"llamafactory-cli export {what}", log, code)


def _check_stage(stage: Path) -> None:
    lacking = [
        what
        for what, patterns in (
            ("config.json", ("config.json",)),
            ("weights", MODEL_WEIGHTS),
            ("tokenizer", TOKENIZER_FILES),
        )
        if not has_any(stage, patterns)
    ]
    index = stage / "model.safetensors.index.json"
    if index.is_file():
        shards = set(load_facts_json(index).get("weight_map", {}).values())
        lacking += sorted(f"shard {shard}" for shard in shards if not (stage / shard).is_file())
    if lacking:
        raise PreflightError(
            f"the engine wrote no {', no '.join(lacking)}", hint="Is the disk full? `lfwrap doctor` shows it."
        )


def _compare(engine: Engine, target: Target, stage: Path, options: ExportOptions, say: Say) -> ParityReport:
    say(f"comparing answers and logits on {len(options.questions)} questions")
    report = measure_parity(engine, target, str(stage), options.dtype, questions=options.questions)
    require_parity(report)
    if report.chat_template:
        say(
            "note: the chat template that ships with the model is the base model's own; it parts from the training's "
            f"at token {report.chat_template['position'] + 1} ({report.chat_template['trained']!r} in training, "
            f"{report.chat_template['exported']!r} shipped)"
        )
    return report


def _check_space(target: Target, out: Path, dtype: str) -> None:
    """The merged weights' size, from the base's files where they are local; a hub model's is not known before."""
    config = find_config(target.model)
    if config is None:
        return
    size = weight_bytes(config.parent)
    if size == 0:
        return
    values = load_facts_json(config)
    stored = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    needed = math.ceil(size * DTYPE_BYTES[dtype] / DTYPE_BYTES.get(stored, 2)) + _SPARE_BYTES
    place = next(parent for parent in (out, *out.parents) if parent.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise PreflightError(
            f"{place}: {format_bytes(free)} free, the merged model needs {format_bytes(needed)}",
            hint="Free some space, or name a folder on another disk.",
        )


def _publish(stage: Path, out: Path, scratch: Path) -> None:
    """Give the staged folder its name; an earlier export steps aside first, so that a name is never half a model."""
    stage.chmod(0o777 & ~_umask())
    if out.exists():
        out.rename(scratch / "replaced")
    stage.rename(out)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
