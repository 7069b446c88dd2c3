"""Where a row of a CSV file ends, found by reading rows: exact wherever the place that one starts from is."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from typing import IO


class _CountedLines:
    """The physical lines of a file from its position on, and how many bytes of them were handed out."""

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self.read_bytes = 0
        self.within_line = False
        self._source = source
        self._limit = limit

    def __iter__(self) -> Iterator[str]:
        for raw in self._source:
            self.read_bytes += len(raw)
            line = raw.decode(errors="surrogateescape")
            if raw.count(b"\r") == raw.endswith(b"\r\n"):
                yield line
            else:
                pieces = list(io.StringIO(line, newline=""))
                for number, piece in enumerate(pieces, 1):
                    self.within_line = number < len(pieces)
                    yield piece
            if self.read_bytes > self._limit:
                return


def end_of_csv_row(
    source: IO[bytes], delimiter: str, start: int, end: int, limit: int, *, skips_space: bool = False
) -> int:
    r"""The offset after the first row that ends at or after ``end``, or of the file's end.

    Args:
        source: the file.
        delimiter: what separates cells.
        start: where a row starts.
        end: an offset after it.
        limit: give up after this many bytes without a border; what is returned is then no border.
        skips_space: whether white space after a delimiter belongs to no cell.

    >>> end_of_csv_row(io.BytesIO(b'a,"1\n2"\nb,3\n'), ",", 0, 4, 1 << 20)
    8
    """
    csv.field_size_limit(sys.maxsize)
    source.seek(start)
    lines = _CountedLines(source, end - start + limit)
    for _ in csv.reader(iter(lines), delimiter=delimiter, skipinitialspace=skips_space):
        if start + lines.read_bytes >= end and not lines.within_line:
            break
    return start + lines.read_bytes
