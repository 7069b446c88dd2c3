"""Before an export: tools, disk space, the folder; and the staging that keeps half an export from having a name."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lfwrap.engine.locate import Engine
from lfwrap.errors import PreflightError, RunStateError, UsageError
from lfwrap.export.formats.table import written_formats
from lfwrap.export.hub import check_push
from lfwrap.export.model_card import load_evaluation
from lfwrap.export.options import DTYPE_BYTES, ExportOptions
from lfwrap.export.result import NOTE
from lfwrap.files import locked
from lfwrap.inference.target import Target
from lfwrap.units import format_bytes

_SPARE_BYTES = 64 << 20


def check_formats(engine: Engine, target: Target, options: ExportOptions) -> None:
    """See that everything is there that the formats need, before anything starts.

    Raises:
        PreflightError: a tool or a package is missing, or a format can't be made of this target.
        UsageError: the repository's name can't be one.
        DataError: the evaluation is not a report of `lfwrap eval`.
    """
    for one in written_formats(options):
        if one.check:
            one.check(engine, target, options)
    if options.evaluation is not None:
        load_evaluation(options.evaluation)
    if options.push is not None:
        check_push(engine, options.push)


def check_out(out: Path, *, force: bool) -> None:
    """See that the folder may be written.

    Raises:
        UsageError: it is a file, or holds something; with ``force``, something that is not an exported model.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file", hint="Name a folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not force:
        raise UsageError(f"{out}: not empty", hint="Name another folder, or replace it with --force.")
    if not (out / NOTE).is_file():
        raise UsageError(
            f"{out}: holds no {NOTE}: not an export of lfwrap's, so --force does not remove it",
            hint="Name another folder, or remove it yourself.",
        )


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that nobody else uses; what a killed export left there before is removed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = out.with_name(f".{out.name}.lock")
    try:
        with locked(lock, timeout_s=0):
            for stale in out.parent.glob(f".{out.name}.*.partial"):
                shutil.rmtree(stale, ignore_errors=True)
            try:
                with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as folder:
                    yield Path(folder)
            finally:
                lock.unlink(missing_ok=True)
    except RunStateError as error:
        if str(lock) in error.message:
            raise RunStateError(
                f"{out}: another lfwrap process is exporting into it", hint="Wait for it, or name another folder."
            ) from error
        raise


def check_space(target: Target, out: Path, options: ExportOptions) -> None:
    """See that the disk has room for all that is to be written.

    The size follows from the base's files; where they are not on this machine, nothing is checked.

    Raises:
        PreflightError: there is too little room.
    """
    size = target.base.weight_bytes() if target.base else 0
    if target.base is None or size == 0:
        return
    values = target.base.config()
    stored = str(values.get("dtype") or values.get("torch_dtype") or "float32")
    half = math.ceil(size * 2 / DTYPE_BYTES.get(stored, 2))
    formats = written_formats(options)
    merged = half * DTYPE_BYTES[options.dtype] // 2 if any(one.needs_merge for one in formats) else 0
    needed = _SPARE_BYTES + merged + sum(one.size_bytes(half, options) for one in formats if one.size_bytes)
    disk = next(parent for parent in (out, *out.parents) if parent.is_dir())
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise PreflightError(
            f"{disk}: {format_bytes(free)} free, the export needs {format_bytes(needed)}",
            hint="Free some space, or name a folder on another disk.",
        )


def publish(stage: Path, out: Path, scratch: Path) -> None:
    """Give the staged folder its name; an earlier export steps aside first, so that a name is never half a model."""
    stage.chmod(0o777 & ~_umask())
    if out.exists():
        out.rename(scratch / "replaced")
    stage.rename(out)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
