"""What the user named as sources: files, folders and globs, opened up and brought to plain UTF-8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lfwrap.data.readers.encoding import bom_of, check_encoding_name, decide_encoding, looks_like_utf8, transcode
from lfwrap.errors import DataError, PreflightError, UsageError

ARROW_SUFFIXES = {".parquet", ".arrow", ".feather"}
TABLE_SUFFIXES = {".xlsx", ".xlsm", *ARROW_SUFFIXES}
FOREIGN_SUFFIXES = {
    ".xls": "a workbook in Excel's format before 2007 (.xls)",
    ".xlsb": "a workbook in Excel's binary format (.xlsb)",
    ".ods": "a spreadsheet in OpenDocument format (.ods)",
    ".numbers": "a spreadsheet of Numbers (.numbers)",
}
CSV_SUFFIXES = {".csv", ".tsv", ".tab"}
TEXT_SUFFIXES = {".json", ".jsonl", ".ndjson", ".log", ".txt", *CSV_SUFFIXES}
SUFFIXES_WITHOUT_MEMBERS = {".jsonl", ".ndjson", ".jsonlines", ".log", ".txt", *ARROW_SUFFIXES, *CSV_SUFFIXES}
COMPRESSED_SUFFIXES = {".gz", ".zst"}
_OUR_OWN = ("dataset_info.json", ".report.json", ".rejects.jsonl")
_HEAD_BYTES = 1 << 18
_COPIED_BYTES = 1 << 20
_ZEROS_WITHIN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Part:
    """One source of a mixture.

    Attributes:
        path: a file, folder or glob.
        rows: take this many rows, or None for all.
        weight: take rows in this proportion to the other sources that have a weight, or None.
        format: the input format, or None.
        columns: field → column, beside those given for all.
        encoding: text encoding, or None.
        delimiter: CSV delimiter, or None.
        member: the list of a JSON object, or the sheet of a workbook, that is meant; empty for all that it holds.
    """

    path: str
    rows: int | None = None
    weight: float | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    delimiter: str | None = None
    member: str = ""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read, or one part of it.

    Attributes:
        name: the file as the user named it.
        member: the list or sheet in it that is meant; empty for all that it holds.
    """

    name: str
    member: str = ""

    @property
    def label(self) -> str:
        """What reports call it.

        >>> SourceFile("a.json", "train").label
        'a.json#train'
        """
        return f"{self.name}#{self.member}" if self.member else self.name


@dataclass(frozen=True, slots=True)
class TextFile:
    """A source ready to be read: UTF-8 without a byte order mark from ``start`` on.

    Attributes:
        path: where the bytes are: the user's file, or a copy in UTF-8.
        name: the file as the user named it.
        suffix: its suffix in lower case, without that of the compression.
        start: offset of the first byte of text.
        encoding: the encoding that the user's file has.
        repairs: what was done to it: ``bom``, ``encoding``.
    """

    path: Path
    name: str
    suffix: str
    start: int
    encoding: str
    repairs: tuple[str, ...] = ()


def parse_part(text: str) -> Part:
    """``data.jsonl#500`` as 500 rows of it, ``data.json#train`` as one list; a file of that very name comes first.

    Raises:
        UsageError: neither a number of rows nor the name of a list or sheet stands after ``#``.

    >>> parse_part("data.jsonl#500").rows
    500
    >>> part = parse_part("data.json#train#500")
    >>> part.path, part.member, part.rows
    ('data.json', 'train', 500)
    """
    path, mark, last = text.rpartition("#")
    if not mark or Path(text).exists():
        return Part(text)
    if not last.isdecimal():
        return Part(path, member=_checked_member(text, path, last))
    if not int(last):
        raise UsageError(f"{text}: expected a number of rows after '#'", hint="For example: data.jsonl#500")
    file, mark, member = path.rpartition("#")
    if not mark or Path(path).exists():
        return Part(path, rows=int(last))
    return Part(file, rows=int(last), member=_checked_member(text, file, member))


def _checked_member(text: str, path: str, member: str) -> str:
    if not member or suffix_of(path) in SUFFIXES_WITHOUT_MEMBERS:
        raise UsageError(
            f"{text}: expected a number of rows after '#'",
            hint="For example: data.jsonl#500. Only a JSON object and a workbook hold parts with names.",
        )
    return member


def expand_sources(sources: Sequence[str]) -> list[str]:
    """Files named by paths, folders (all data files below, sorted) and globs, each once, in order.

    Raises:
        DataError: a path or pattern without a file, a folder without data files.
    """
    found: dict[str, None] = {}
    for source in sources:
        for name in _expand(source):
            found.setdefault(name)
    return list(found)


def _expand(source: str) -> list[str]:
    path = Path(source)
    if path.is_file():
        return [source]
    if path.is_dir():
        from lfwrap.data.readers.saved_dataset import saved_dataset_files

        if (saved := saved_dataset_files(path, source)) is not None:
            return saved
        files = sorted(str(file) for file in path.rglob("*") if _is_data_file(file, path))
        if not files:
            raise DataError(
                f"{source}: no data files in this folder",
                hint="Files end in .json, .jsonl, .csv, .tsv, .xlsx, .parquet or .log, perhaps with .gz or .zst.",
            )
        return files
    import glob

    matches = sorted(
        match
        for match in glob.glob(source, recursive=True)  # noqa: PTH207 - keeps what was typed
        if Path(match).is_file()
    )
    if not matches:
        raise DataError(f"{source}: no such file, and no file matches it", hint="Check the path; quote a pattern.")
    return matches


def _is_data_file(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    known = suffix_of(file.name) in TEXT_SUFFIXES | TABLE_SUFFIXES
    return file.is_file() and known and not hidden and not file.name.endswith(_OUR_OWN)


def suffix_of(name: str) -> str:
    """The suffix that tells the kind of a file: ``.csv`` for ``a.CSV.gz``.

    >>> suffix_of("a.CSV.gz"), suffix_of("b.jsonl")
    ('.csv', '.jsonl')
    """
    path = Path(name.lower())
    return path.with_suffix("").suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def open_text(name: str, scratch: Path, *, encoding: str | None, checked: bool) -> TextFile:
    """Bring one source to UTF-8; a copy under ``scratch`` stands in for what is compressed or otherwise encoded.

    Args:
        name: the file as the user named it.
        scratch: a folder for copies.
        encoding: the encoding that the user gave, or None.
        checked: decode the whole file to decide, rather than its first part: a reader met other bytes further on.

    Raises:
        DataError: an empty file, an encoding that can't be told, a broken archive.
        UsageError: an unknown encoding.
    """
    path = _decompressed(name, scratch)
    with path.open("rb") as source:
        head = source.read(_HEAD_BYTES)
    if not head.strip():
        raise DataError(f"{name}: the file is empty", hint="Leave it out, or export it again.")
    suffix = suffix_of(name)
    bom = bom_of(head)
    if encoding is not None:
        encoding = check_encoding_name(encoding)
        if bom and encoding.startswith("utf"):
            encoding = bom[0]
    elif bom:
        encoding = bom[0]
    else:
        encoding = _encoding_without_bom(path, name, head, checked=checked)
    skip = bom[1] if bom and encoding == bom[0] else 0
    repairs = ("bom",) if skip else ()
    if encoding == "utf-8" and not (checked and bom):
        return TextFile(path, name, suffix, skip, encoding, repairs)
    with _scratch_file(scratch) as sink:
        transcode(path, sink, encoding=encoding, skip=skip, name=name)
    return TextFile(Path(sink.name), name, suffix, 0, encoding, (*repairs, "encoding"))


def _encoding_without_bom(path: Path, name: str, head: bytes, *, checked: bool) -> str:
    if b"\0" in head[:_ZEROS_WITHIN_BYTES]:
        raise DataError(
            f"{name}: zero bytes: this is UTF-16 without a byte order mark, or not text at all",
            hint="If it is text: --encoding utf-16-le (or utf-16-be).",
        )
    return "utf-8" if not checked and looks_like_utf8(head) else decide_encoding(path, name)


def _scratch_file(scratch: Path) -> IO[bytes]:
    import tempfile

    return tempfile.NamedTemporaryFile(dir=scratch, prefix="text.", delete=False)


def _decompressed(name: str, scratch: Path) -> Path:
    compression = Path(name.lower()).suffix
    if compression not in COMPRESSED_SUFFIXES:
        return Path(name)
    with _scratch_file(scratch) as sink:
        try:
            if compression == ".gz":
                _gunzip(name, sink)
            else:
                _unzstd(name, sink)
        except (EOFError, OSError, ValueError) as error:
            if getattr(error, "errno", None):
                raise
            raise DataError(f"{name}: broken archive: {error}", hint="Copy or download it again.") from error
    return Path(sink.name)


def _gunzip(name: str, sink: IO[bytes]) -> None:
    import gzip
    import shutil

    with gzip.open(name) as source:
        shutil.copyfileobj(source, sink, _COPIED_BYTES)


def _unzstd(name: str, sink: IO[bytes]) -> None:
    try:
        import zstandard
    except ImportError as error:
        raise PreflightError(
            f"{name}: reading .zst needs the package zstandard", hint="pip install 'lfwrap[data]'"
        ) from error
    with Path(name).open("rb") as source:
        try:
            zstandard.ZstdDecompressor().copy_stream(source, sink)
        except zstandard.ZstdError as error:
            raise ValueError(error) from error
