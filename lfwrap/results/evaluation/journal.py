"""Results that survive an interruption: JSON lines under a header that says what they are results of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from lfwrap.errors import PreflightError, RunStateError


class Journal:
    """A file of results by key, appended to as they come.

    Attributes:
        done: key → result, those of an earlier time included.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Take up a file under the same header, or begin one.

        Raises:
            RunStateError: the file holds results of something else.
            PreflightError: it can't be written.
        """
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        head = orjson.loads(orjson.dumps(header, option=orjson.OPT_SORT_KEYS))
        lines = _whole_lines(path)
        if len(lines) > 1 and lines[0] != head:
            raise RunStateError(
                f"{path}: holds results of {_difference(lines[0], head)}",
                hint="Compute them again with --force, or name another folder: --out DIR.",
            )
        if lines:
            self.done = {line["key"]: line["result"] for line in lines[1:]}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written again from what could be read: a line that was cut off by a crash goes away.
            self._sink = path.open("wb")
            self._write(head)
            for key, result in self.done.items():
                self._write({"key": key, "result": result})
            self._sink.flush()
        except OSError as error:
            raise PreflightError(
                f"{path}: can't be written: {error.strerror}", hint="Name another: --out DIR."
            ) from error

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Keep one result, on disk too."""
        self.done[key] = result
        self._write({"key": key, "result": result})
        self._sink.flush()

    def close(self) -> None:
        """See everything onto the disk."""
        self._sink.flush()
        os.fsync(self._sink.fileno())
        self._sink.close()

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _write(self, value: Mapping[str, Any]) -> None:
        self._sink.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS))


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines that can be read, up to the first that can't."""
    lines: list[dict[str, Any]] = []
    if not path.is_file():
        return lines
    for line in path.read_bytes().split(b"\n"):
        try:
            lines.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            break
    return lines


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [key for key in now if before.get(key) != now[key]]
    return f"other {', '.join(changed) or 'things'}"
