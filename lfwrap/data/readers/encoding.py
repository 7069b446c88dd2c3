"""Which encoding a text file has: byte order mark, then strict UTF-8, then strict GB18030; never a lossy guess."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lfwrap.errors import DataError, UsageError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BLOCK_BYTES = 1 << 20


def bom_of(head: bytes) -> tuple[str, int] | None:
    """The encoding that a byte order mark names and the mark's length, or None without a mark.

    >>> bom_of(codecs.BOM_UTF8 + b"text"), bom_of(b"text")
    (('utf-8', 3), None)
    """
    return next(((encoding, len(bom)) for bom, encoding in _BOMS if head.startswith(bom)), None)


def looks_like_utf8(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; a character cut off at their end is no objection.

    >>> looks_like_utf8("猫".encode()[:2]), looks_like_utf8("猫咪".encode("gb18030"))
    (True, False)
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def decide_encoding(path: Path, name: str) -> str:
    """The encoding of a file without a byte order mark, by strictly decoding all of it.

    Raises:
        DataError: it is neither UTF-8 nor GB18030; says at which byte each of them fails.
    """
    failures = []
    for encoding in ("utf-8", "gb18030"):
        failure = _first_failure(path, encoding)
        if failure is None:
            return encoding
        failures.append(f"{encoding.upper()} fails at byte {failure:,}")
    raise DataError(
        f"{name}: unknown text encoding: {', '.join(failures)}",
        hint="Name it with --encoding (latin-1, cp1252, big5, shift_jis …), or save the file as UTF-8.",
    )


def _first_failure(path: Path, encoding: str) -> int | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    for block in _blocks(path):
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


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        yield from iter(functools.partial(source.read, _BLOCK_BYTES), b"")


def check_encoding_name(encoding: str) -> str:
    """The codec's own name for an encoding given by the user.

    Raises:
        UsageError: Python knows no such encoding.

    >>> check_encoding_name("UTF8"), check_encoding_name("latin-1")
    ('utf-8', 'iso8859-1')
    """
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise UsageError(
            f"--encoding {encoding}: no such encoding", hint="For example: utf-8, gb18030, big5, utf-16, latin-1."
        ) from error


def transcode(path: Path, sink: IO[bytes], *, encoding: str, skip: int, name: str) -> None:
    """Copy a file as UTF-8, strictly.

    Args:
        path: the file.
        sink: takes the UTF-8 text.
        encoding: the file's encoding.
        skip: bytes of byte order mark to leave out.
        name: the file as the user named it.

    Raises:
        DataError: a byte that the encoding does not have; says which.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    try:
        for block in _blocks(path):
            body = block[skip:] if offset == 0 else block
            sink.write(decoder.decode(body).encode())
            offset += len(block)
        sink.write(decoder.decode(b"", final=True).encode())
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise DataError(
            f"{name}: not {encoding}: {getattr(error, 'reason', error)} near byte {offset + start:,}",
            hint="Name the right encoding with --encoding, or save the file as UTF-8.",
        ) from error
