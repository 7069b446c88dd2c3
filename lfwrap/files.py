"""Atomic writes, so that a file is either whole or absent; canonical JSON, hashes and locks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from lfwrap.errors import PreflightError, RunStateError

_HASH_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_open(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Write ``path`` completely or not at all: a temporary file in its folder takes its name at the end.

    Raises:
        PreflightError: the disk is full or the folder can't be written.
    """
    import tempfile

    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        raise PreflightError(
            f"{path}: can't be written: {error.strerror or error}",
            hint="Free some space, or name another folder.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` atomically. Raises PreflightError as `atomic_open` does."""
    with atomic_open(path, mode=mode) as sink:
        sink.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` atomically by UTF-8 text. Raises PreflightError as `atomic_open` does."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` atomically by indented JSON. Raises PreflightError as `atomic_open` does."""
    write_bytes(path, orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and without white space, so that equal values give equal bytes.

    Example:
        >>> canonical_json({"b": [1, 2], "a": None})
        b'{"a":null,"b":[1,2]}'
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256_bytes(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits.

    Example:
        >>> sha256_bytes(b"")[:16]
        'e3b0c44298fc1c14'
    """
    import hashlib

    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; it is read in pieces of 1 MiB."""
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as source:
        while chunk := source.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` for a ``with`` block; the file is created if necessary, and stays.

    Raises:
        RunStateError: another process held it for longer than ``timeout_s``.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise RunStateError(
            f"{path}: another lfwrap process holds this lock",
            hint="Wait for it to end, or name another folder.",
        ) from error
    try:
        yield
    finally:
        lock.release()
