"""Output that appears as a whole: files are staged beside their place and take their names together at the end.

A killed process leaves either nothing but its staging folder, which the next one clears away, or a staging folder with
a commit file, whose renames the next one finishes. `dataset_info.json` comes last.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from lfwrap import files
from lfwrap.data.output.registry import LOCK_NAME, merge_registry

_PREFIX = ".lfwrap-staging-"
_COMMIT = "commit.json"


@contextlib.contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A folder for files under way, on the same file system as ``out``; gone afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    finish_interrupted(out)
    folder = out / f"{_PREFIX}{os.getpid()}-{time.time_ns()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def commit(out: Path, folder: Path, names: list[str], removed: list[str], entries: dict[str, Any]) -> None:
    """Move staged files to ``out`` and register them; the caller holds the folder's lock.

    Args:
        out: the data folder.
        folder: the staging folder.
        names: files of the staging folder.
        removed: files of ``out`` to remove: they have no successor.
        entries: data set → its entry, or None to take it out.

    Raises:
        PreflightError: no space, no permission.
        DataError: `dataset_info.json` is broken.
    """
    staged = folder / f"{_COMMIT}.part"
    staged.write_bytes(orjson.dumps({"names": names, "removed": removed, "entries": entries}))
    staged.rename(folder / _COMMIT)
    _carry_out(out, folder)


def _carry_out(out: Path, folder: Path) -> None:
    plan = orjson.loads((folder / _COMMIT).read_bytes())
    for name in plan["names"]:
        if (folder / name).exists():
            (folder / name).replace(out / name)
    for name in plan["removed"]:
        (out / name).unlink(missing_ok=True)
    merge_registry(out, plan["entries"])
    (folder / _COMMIT).unlink()


def finish_interrupted(out: Path) -> None:
    """Finish or clear away what a killed process left in a data folder."""
    for folder in out.glob(f"{_PREFIX}*"):
        if _is_alive(folder):
            continue
        with files.locked(out / LOCK_NAME):
            if (folder / _COMMIT).exists():
                _carry_out(out, folder)
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # there is something left in it
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(folder: Path) -> bool:
    pid = int(folder.name.removeprefix(_PREFIX).split("-")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
