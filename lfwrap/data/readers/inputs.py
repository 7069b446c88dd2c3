"""The sources of a preparation while they are read: copies of streams, and whether a file changes meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lfwrap.data.readers.archives import Opened, on_disk
from lfwrap.data.readers.sources import open_source
from lfwrap.data.readers.streams import is_stream, spool
from lfwrap.errors import DataError


class Inputs:
    """The sources of a preparation.

    Attributes:
        scratch: a folder for copies.
        size_bytes: how large the files are, together and as they lie on the disk.
    """

    def __init__(self, names: Iterable[str], scratch: Path) -> None:
        self.scratch = scratch
        self._spooled: dict[str, Path] = {}
        self._seen: dict[str, tuple[int, ...]] = {}
        paths = {self._path_of(name) for name in names}
        self.size_bytes = sum(path.stat().st_size for path in paths)

    def open(self, name: str) -> Opened:
        """Where the bytes of a source are, with nothing packed. Raises DataError as `open_source` does."""
        path = self._path_of(name)
        self._seen[name] = _state(path)
        return open_source(name, self.scratch, self._spooled.get(name))

    def check_unchanged(self, name: str) -> None:
        """Make sure that a source is what it was when it was opened.

        Raises:
            DataError: it has changed, or is gone.
        """
        try:
            now = _state(self._path_of(name))
        except OSError as error:
            raise _unreadable(name, error) from error
        if now != self._seen.get(name, now):
            raise DataError(
                f"{name}: it changed while it was read; nothing was written",
                hint="Wait until it is written completely, and run again.",
            )

    def _path_of(self, name: str) -> Path:
        if name not in self._spooled and is_stream(name):
            self._spooled[name] = spool(name, self.scratch)
        return self._spooled.get(name) or on_disk(name).path


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def refuse_unreadable(error: OSError, names: Iterable[str]) -> None:
    """Raise DataError where an error of the system is about one of these sources."""
    if not error.filename:
        return
    failed = os.fspath(error.filename)
    for name in names:
        if failed in {name, str(on_disk(name).path)}:
            raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> DataError:
    return DataError(
        f"{name}: can't be read: {error.strerror or error}; nothing was written",
        hint="Check that it is there and that you may read it, and run again.",
    )
