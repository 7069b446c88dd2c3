"""Results that outlive an interruption: JSON lines under a header that names the model and what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import orjson

from lfwrap.errors import PreflightError, UsageError
from lfwrap.files import write_bytes


class ResultJournal:
    """A file of results by question, appended to as they come.

    Attributes:
        results: question → result, those of an earlier call included.
        header: what stands on the first line.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, force: bool = False) -> None:
        """Go on with a file of the same header, or begin it.

        Args:
            path: the file.
            header: what the results are of; two headers that differ mean results that do not belong together.
            force: begin anew where the file is of something else.

        Raises:
            UsageError: the file holds results of something else.
            PreflightError: it can't be written.
        """
        self.path = path
        self.header: dict[str, Any] = orjson.loads(orjson.dumps(header))
        self.results: dict[int, dict[str, Any]] = {}
        lines = read_lines(path)
        if lines and lines[0] == self.header:
            self.results = {int(line["id"]): line for line in lines[1:]}
        elif lines and not force:
            raise UsageError(
                f"{path}: holds {_other(lines[0], self.header)}",
                hint="Name another folder with --out, or replace these answers with --force.",
            )
        # Whole again: a line that a crash cut off goes away.
        write_bytes(path, b"".join(map(_line, [self.header, *self.results.values()])))
        try:
            self._sink = path.open("ab")
        except OSError as error:
            raise PreflightError(f"{path}: can't be written: {error.strerror}", hint="Name another: --out.") from error

    def add(self, number: int, result: Mapping[str, Any]) -> None:
        """Keep one result, on disk too. Raises PreflightError when the disk is full."""
        entry = {**result, "id": number}
        try:
            self._sink.write(_line(entry))
            self._sink.flush()
        except OSError as error:
            raise PreflightError(
                f"{self.path}: can't be written: {error.strerror}",
                hint="Free some space and run it again: it goes on from here.",
            ) from error
        self.results[number] = entry

    def __enter__(self) -> Self:
        """The journal itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._sink.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file up to the first that is not a whole JSON object; empty where there is no file."""
    lines: list[dict[str, Any]] = []
    if not path.is_file():
        return lines
    for line in path.read_bytes().split(b"\n"):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            break
        if not isinstance(value, dict):
            break
        lines.append(value)
    return lines


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def _other(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    return f"answers that were given otherwise ({', '.join(differing)} differ)"
