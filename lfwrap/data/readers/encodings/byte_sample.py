"""One pass over a file that is perhaps not UTF-8: where UTF-8 fails, and bytes that tell which encoding it has."""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

BLOCK_BYTES = 1 << 20
_NEAR_BYTES = 8 << 10
LONGEST_WINDOW = 4 << 10  # in one of this length a character may be cut off at the end
_FAR_BYTES = 64 << 10
_FAR_BYTES_OF_BLOCK = 2 << 10
# Bytes beyond ASCII with their surroundings; no character of any encoding but those of 7 bits starts or ends elsewhere.
_WINDOW = re.compile(rb"[\x00-\x7f]{0,8}(?:[\x80-\xff]+[^\x80-\xff\n]{0,8})+")
_ASCII = bytes(range(128))
_SEVEN_BITS = re.compile(rb"\x1b(?:\$[@B]|\$\)C|\([JI])")


@dataclass(slots=True)
class ByteSample:
    """What one pass over a file found.

    Attributes:
        utf8_fails_at: offset of the first byte that is not UTF-8, or None.
        has_escapes: it holds escape sequences of ISO-2022, which writes other characters in 7 bits.
        near: windows on bytes beyond ASCII, each once: those that come first, and one for every byte value.
        far: more of them, from the whole file.
        lines: the first lines with such bytes, as far as they are short.
    """

    utf8_fails_at: int | None = None
    has_escapes: bool = False
    near: list[bytes] = field(default_factory=list)
    far: list[bytes] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)


def blocks_of(path: Path) -> Iterator[bytes]:
    """A file in pieces of 1 MiB."""
    with path.open("rb") as source:
        yield from iter(functools.partial(source.read, BLOCK_BYTES), b"")


def first_failure(path: Path, encoding: str) -> int | None:
    """Offset of the first byte that is none of an encoding's, or None when all of the file is."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    for block in blocks_of(path):
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            return offset - pending + error.start
        offset += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return offset - len(error.object) + error.start
    return None


def sample_bytes(path: Path) -> ByteSample:
    """Look through a file once, with memory for a few blocks of it."""
    sample = ByteSample(first_failure(path, "utf-8"))
    collector = _Collector(sample)
    rest = b""
    for block in blocks_of(path):
        sample.has_escapes = sample.has_escapes or bool(_SEVEN_BITS.search(block))
        rest += block
        # A line break or a quotation mark is never a part of a character of several bytes.
        cut = rest.rfind(b"\n") + 1 or rest.rfind(b'"') + 1 or len(rest)
        collector.add(rest[:cut])
        rest = rest[cut:]
    collector.add(rest)
    return sample


class _Collector:
    def __init__(self, sample: ByteSample) -> None:
        self.sample = sample
        self.seen: set[bytes] = set()
        self.passed_over = bytearray(_ASCII)  # ASCII, and the bytes for which there is a window
        self.near_bytes = self.far_bytes = self.line_bytes = 0

    def add(self, content: bytes) -> None:
        """Take the windows of a piece of the file that ends with a character."""
        far_end = min(self.far_bytes + _FAR_BYTES_OF_BLOCK, _FAR_BYTES) if self.near_bytes else _FAR_BYTES
        wanted = set(content.translate(None, bytes(self.passed_over)))
        if not wanted and self.far_bytes >= far_end:
            return
        self._take_lines(content)
        for match in _WINDOW.finditer(content):
            window = match.group().replace(b"\n", b" ")
            new = wanted.intersection(window)
            if new or self.near_bytes < _NEAR_BYTES:
                self._take_near(window[:LONGEST_WINDOW])
                wanted -= new
                self.passed_over += bytes(new)
            elif self.far_bytes < far_end:
                self._take_far(window[:LONGEST_WINDOW])
            elif not wanted:
                return

    def _take_near(self, window: bytes) -> None:
        if window not in self.seen:
            self.seen.add(window)
            self.sample.near.append(window)
            self.near_bytes += len(window)

    def _take_far(self, window: bytes) -> None:
        if window not in self.seen:
            self.seen.add(window)
            self.sample.far.append(window)
            self.far_bytes += len(window)

    def _take_lines(self, content: bytes) -> None:
        for line in content.split(b"\n") if self.line_bytes < _NEAR_BYTES else ():
            if not line.isascii() and len(line) < LONGEST_WINDOW and self.line_bytes < _NEAR_BYTES:
                self.sample.lines.append(line)
                self.line_bytes += len(line)
