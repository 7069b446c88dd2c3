"""Compressed files and ZIP archives: what their first bytes say they are, and copies of what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from lfwrap.errors import DataError, PreflightError

COMPRESSED_SUFFIXES = {".gz", ".zst", ".bz2", ".xz"}
ARCHIVE_SUFFIXES = {".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar"}
_MAGIC = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
_ZIP = b"PK\x03\x04"
_TABLES = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ".xls"}
_OTHERS = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive", b"%PDF": "a PDF document"}
_TAR_MARK, _TAR_MARK_AT = b"ustar", 257
_MEMBER = re.compile(r"(.+?\.zip)!(.+)", re.IGNORECASE | re.DOTALL)
_COPIED_BYTES = 1 << 20
_ZST_BYTES = 1 << 11  # a block of 4 bytes may stand for 128 KiB
# Text is never packed so well; what is that large and that dense fills disks on purpose.
_BOMB_BYTES = 1 << 30
_BOMB_RATIO = 200


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Where a source lies: its file, and the member of it, where that is a ZIP archive."""

    path: Path
    member: str = ""


def on_disk(name: str) -> OnDisk:
    """Where a source that is named ``x.zip!a.jsonl``, or like a file, lies.

    >>> on_disk("x.jsonl")
    OnDisk(path=PosixPath('x.jsonl'), member='')
    """
    match = _MEMBER.fullmatch(name)
    if match is not None and not Path(name).exists() and Path(match.group(1)).is_file():
        return OnDisk(Path(match.group(1)), match.group(2))
    return OnDisk(Path(name))


def archive_members(archive: str) -> list[str]:
    """The files in a ZIP archive, in its order.

    Raises:
        DataError: it is broken, or holds two files of one name.
    """
    import zipfile

    try:
        with zipfile.ZipFile(archive) as opened:
            names = [info.filename for info in opened.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise _broken(archive, error) from error
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{archive}: it holds two files named {twice}", hint="Unpack it, and name one of them.")
    return names


@dataclass(frozen=True, slots=True)
class Opened:
    """A source whose bytes are no longer packed.

    Attributes:
        path: where they are: the user's file, or a copy.
        suffix: the suffix that tells its kind, in lower case and by its content where that says otherwise.
    """

    path: Path
    suffix: str


def open_packed(name: str, path: Path, member: str, suffix: str, scratch: Path) -> Opened:
    """Unpack a source, if it is packed: its first bytes decide, not its name.

    Args:
        name: the source as the user named it.
        path: where it lies.
        member: its name in a ZIP archive, or empty.
        suffix: the suffix that its name has, without that of the compression.
        scratch: a folder for copies.

    Raises:
        DataError: a broken or encrypted archive, one that would fill the disk, or something that holds no rows.
        PreflightError: a package is missing.
    """
    if member:
        path = _copy_of_member(name, path, member, suffix, scratch)
    for _ in range(_LAYERS):
        head = _head(path)
        packing = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
        if packing is None:
            break
        path = _unpacked(name, path, packing, suffix, scratch)
    _refuse_others(name, head, suffix)
    table = next((kind for magic, kind in _TABLES.items() if head.startswith(magic)), None)
    if table is None and head.startswith(_ZIP):
        table = _kind_of_zip(name, path, suffix)
    elif table is None and _is_packed_by_name(name) and head[:1] not in b"[{" and suffix not in _PLAIN:
        raise _broken(name, "its first bytes are not those of a compressed file")
    if table == ".arrow" and suffix == ".feather":
        table = None
    if table == ".xlsx" and path.suffix.lower() != table:
        path = _linked(path, table, scratch)  # its reader goes by the name
    return Opened(path, table or suffix)


def _linked(path: Path, suffix: str, scratch: Path) -> Path:
    import tempfile

    link = Path(tempfile.mkdtemp(dir=scratch, prefix="text.")) / f"table{suffix}"
    link.symlink_to(path.resolve())
    return link


_LAYERS = 3
_PLAIN = {".csv", ".tsv", ".tab", ".txt", ".log"}


def _head(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(_TAR_MARK_AT + len(_TAR_MARK))


def _is_packed_by_name(name: str) -> bool:
    return Path(name.lower()).suffix in COMPRESSED_SUFFIXES


def _refuse_others(name: str, head: bytes, suffix: str) -> None:
    what = next((what for magic, what in _OTHERS.items() if head.startswith(magic)), "")
    if head[_TAR_MARK_AT:] == _TAR_MARK or suffix == ".tar":
        what = "a tar archive"
    if what:
        raise DataError(f"{name}: {what} is not read", hint="Unpack it, and name the files or their folder.")


def _kind_of_zip(name: str, path: Path, suffix: str) -> str:
    """What a file of ZIP's form is: a workbook, whatever its suffix, or an archive that is named otherwise."""
    if suffix in {".xlsx", ".xlsm", ".xlsb", ".ods", ".numbers"}:
        return suffix
    import zipfile

    try:
        with zipfile.ZipFile(path) as opened:
            names = set(opened.namelist())
    except zipfile.BadZipFile as error:
        raise _broken(name, error) from error
    if "xl/workbook.xml" in names:
        return ".xlsx"
    raise DataError(f"{name}: this is a ZIP archive", hint="Give it the suffix .zip, or unpack it.")


def _copy_of_member(name: str, archive: Path, member: str, suffix: str, scratch: Path) -> Path:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(archive) as opened:
            info = opened.getinfo(member)
            if info.flag_bits & 1:
                raise DataError(f"{name}: it is encrypted", hint="Unpack it with its password, and name the files.")
            with opened.open(info) as source, _scratch_file(scratch, suffix) as sink:
                _copy(source, sink, name, info.compress_size)
    except KeyError as error:
        raise DataError(f"{archive}: there is no {member} in it", hint="`unzip -l` lists what it holds.") from error
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise _broken(name, error) from error
    return Path(sink.name)


def _unpacked(name: str, path: Path, packing: str, suffix: str, scratch: Path) -> Path:
    import lzma
    import zlib

    opener = _OPENERS[packing]
    with _scratch_file(scratch, suffix) as sink:
        try:
            with opener(name, path) as source:
                _copy(source, sink, name, path.stat().st_size)
        except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            if getattr(error, "errno", None):
                raise
            raise _broken(name, error) from error
    return Path(sink.name)


def _copy(source: IO[bytes], sink: IO[bytes], name: str, packed_bytes: int) -> None:
    size = 0
    while block := source.read(_COPIED_BYTES):
        size += len(block)
        if size > _BOMB_BYTES and size > _BOMB_RATIO * packed_bytes:
            raise DataError(
                f"{name}: it unpacks to more than {_BOMB_RATIO} times its size ({packed_bytes:,} bytes), as archives do"
                " that are made to fill disks",
                hint="If it is meant to be so, unpack it yourself.",
            )
        sink.write(block)


def _open_gz(name: str, path: Path) -> IO[bytes]:  # noqa: ARG001 - one signature for four
    import gzip

    return gzip.GzipFile(path)  # type: ignore[return-value]


def _open_bz2(name: str, path: Path) -> IO[bytes]:  # noqa: ARG001
    import bz2

    return bz2.BZ2File(path)


def _open_xz(name: str, path: Path) -> IO[bytes]:  # noqa: ARG001
    import lzma

    return lzma.LZMAFile(path)


def _open_zst(name: str, path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise PreflightError(
            f"{name}: reading .zst needs the package zstandard", hint="pip install 'lfwrap[data]'"
        ) from error
    return _ZstFile(path.open("rb"), zstandard.ZstdDecompressor())  # type: ignore[return-value]


class _ZstFile:
    """A .zst file to read from; unlike zstandard's own readers it notices that a frame is cut off."""

    def __init__(self, source: IO[bytes], decompressor: Any) -> None:
        self._source = source
        self._decompressor = decompressor
        self._frame: Any = None
        self._unused = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def read(self, _size: int) -> bytes:
        """Some bytes, not necessarily as many as asked for; none at the end. Raises ValueError for a broken file."""
        while packed := self._unused or self._source.read(_ZST_BYTES):
            self._unused = b""
            self._frame = self._frame or self._decompressor.decompressobj()
            try:
                content: bytes = self._frame.decompress(packed)
            except Exception as error:  # zstandard.ZstdError, which need not be installed
                raise ValueError(error) from error
            if self._frame.eof:
                self._unused, self._frame = self._frame.unused_data, None
            if content:
                return content
        if self._frame is not None:
            raise EOFError("it ends too early")
        return b""


_OPENERS: dict[str, Callable[[str, Path], IO[bytes]]] = {
    ".gz": _open_gz,
    ".bz2": _open_bz2,
    ".xz": _open_xz,
    ".zst": _open_zst,
}


def _scratch_file(scratch: Path, suffix: str) -> IO[bytes]:
    import tempfile

    return tempfile.NamedTemporaryFile(dir=scratch, prefix="text.", suffix=suffix, delete=False)


def _broken(name: str, error: object) -> DataError:
    return DataError(f"{name}: broken archive: {error}", hint="Copy or download it again.")
