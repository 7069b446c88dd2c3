"""Writes the workers' results to files: leaves out duplicates, counts every row, lists rejects."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import orjson

from lfwrap.data.output.data_report import DataReport, Example, FileReport, Warnings
from lfwrap.data.output.split import ValSize
from lfwrap.data.workers.task import EXAMPLES_PER_RULE, ChunkResult, Place, RejectedRow


class RowSink:
    """Takes results of chunks in order and writes staged files.

    A key costs about 100 bytes of memory a row: it is a Python integer in a set, the quickest exact lookup there is
    without a further dependency.

    Attributes:
        train: the staged training file.
        val: the staged validation file.
        rejects: the staged list of rejects.
        ranks: when rows are to be chosen afterwards: the upper half of each row's key.
        owners: likewise the number of the file that each row comes from.
    """

    def __init__(self, folder: Path, report: DataReport, val_size: ValSize | None, *, choosing: bool) -> None:
        self.report = report
        self.train = folder / f"{report.name}.jsonl"
        self.val = folder / f"{report.name}_val.jsonl"
        self.rejects = folder / f"{report.name}.rejects.jsonl"
        self.ranks, self.owners = array("Q"), array("L")
        self._choosing = choosing
        self._threshold = val_size.key_threshold if val_size and not choosing else 0
        self._seen: set[int] = set()
        self._train_file = self.train.open("wb")
        self._val_file: IO[bytes] | None = self.val.open("wb") if val_size else None
        self._rejects_file = self.rejects.open("wb")

    def close(self) -> None:
        """Close the files; a full disk shows here at the latest."""
        for file in (self._train_file, self._val_file, self._rejects_file):
            if file is not None:
                file.close()

    def add(self, result: ChunkResult, file: FileReport) -> None:
        """Write the lines of a chunk, and count its rows.

        Args:
            result: what came of the chunk.
            file: the account of its file.
        """
        file.rows_in += result.rows
        file.repairs.update(result.repairs)
        for reject in result.rejects:
            self._reject(reject, file, result)
        for rule, warned in result.warnings.items():
            total = self.report.warnings.setdefault(rule, Warnings())
            total.count += warned.count
            for place, message in warned.examples[: EXAMPLES_PER_RULE - len(total.examples)]:
                row, line = _absolute(place, result)
                total.examples.append(Example(file.file, row, line, message))
        for path, unused in result.unused.items():
            file.add_unused(path, unused, result.rows_before)
        self._write(result, file)

    def _write(self, result: ChunkResult, file: FileReport) -> None:
        keys, seen = result.keys, self._seen
        if not self._threshold and len(fresh := set(keys)) == len(keys) and fresh.isdisjoint(seen):
            seen |= fresh
            self._train_file.write(result.lines)
            self._count(keys)
            return
        lines = split_lines(result.lines)
        train: list[int] = []
        for key, line in zip(keys, lines, strict=True):
            if key in seen:
                file.duplicates += 1
                continue
            seen.add(key)
            if key < self._threshold and self._val_file is not None:
                self._val_file.write(line + b"\n")
                self.report.val_rows += 1
            else:
                self._train_file.write(line + b"\n")
                train.append(key)
        self._count(train)

    def _count(self, keys: Sequence[int]) -> None:
        self.report.train_rows += len(keys)
        if self._choosing:
            self.ranks.extend(key >> 64 for key in keys)
            self.owners.extend([len(self.report.files) - 1] * len(keys))

    def _reject(self, reject: RejectedRow, file: FileReport, result: ChunkResult) -> None:
        row, line = _absolute(reject.place, result)
        file.rejected += 1
        self.report.rejects[reject.rule] += 1
        entry = {"file": file.file, "line": line, "row": row, "rule": reject.rule, "reason": reject.reason}
        self._rejects_file.write(orjson.dumps({**entry, "fields": reject.excerpt}) + b"\n")


def split_lines(lines: bytearray | memoryview | bytes) -> list[bytes]:
    """The lines of a result, each without its line break."""
    return bytes(lines).split(b"\n")[:-1]


def _absolute(place: Place, result: ChunkResult) -> tuple[int, int | None]:
    """The 1-based row and line of a place in the whole file."""
    return result.rows_before + place.row, None if place.line is None else result.lines_before + place.line + 1
