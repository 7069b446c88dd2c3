"""What the user named as sources: files, folders and globs, opened up and brought to plain UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lfwrap.data.readers.archives import COMPRESSED_SUFFIXES, OnDisk, Opened, on_disk, open_packed
from lfwrap.data.readers.encodings.encoding import (
    MOST_DETECTED,
    Decision,
    bom_of,
    check_encoding_name,
    check_utf8,
    decide_encoding,
    doubt_about,
    looks_like_utf8,
    transcode,
    wide_encoding,
)
from lfwrap.errors import DataError, UsageError

ARROW_SUFFIXES = {".parquet", ".arrow", ".feather"}
TABLE_SUFFIXES = {".xlsx", ".xlsm", *ARROW_SUFFIXES}
FOREIGN_SUFFIXES = {
    ".xls": "a workbook in Excel's format before 2007 (.xls)",
    ".xlsb": "a workbook in Excel's binary format (.xlsb)",
    ".ods": "a spreadsheet in OpenDocument format (.ods)",
    ".numbers": "a spreadsheet of Numbers (.numbers)",
}
CSV_SUFFIXES = {".csv", ".tsv", ".tab"}
LINE_SUFFIXES = {".jsonl", ".ndjson", ".jsonlines"}
TEXT_SUFFIXES = {".json", ".log", ".txt", *LINE_SUFFIXES, *CSV_SUFFIXES}
SUFFIXES_WITHOUT_MEMBERS = {".log", ".txt", *LINE_SUFFIXES, *ARROW_SUFFIXES, *CSV_SUFFIXES}
_HEAD_BYTES = 1 << 18
_FEW_ZEROS, _MOST_ZEROS = 4, 0.01  # in a text that holds some by mistake


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
        r"""What reports call it: text that any file can hold, even where a file's name is no text.

        >>> SourceFile("a.json", "train").label, SourceFile("caf\udce9.json").label
        ('a.json#train', 'caf\\udce9.json')
        """
        name = f"{self.name}#{self.member}" if self.member else self.name
        return name.encode(errors="backslashreplace").decode()


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
        confidence: how sure the encoding is, from 0 to 1; None where the user named it.
        doubt: why the encoding that the user named is probably another one, or empty.
    """

    path: Path
    name: str
    suffix: str
    start: int
    encoding: str
    repairs: tuple[str, ...] = ()
    confidence: float | None = 1.0
    doubt: str = ""


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


def suffix_of(name: str) -> str:
    """The suffix that tells the kind of a file: ``.csv`` for ``a.CSV.gz``.

    >>> suffix_of("a.CSV.gz"), suffix_of("b.jsonl")
    ('.csv', '.jsonl')
    """
    path = Path(name.lower())
    return path.with_suffix("").suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def open_source(name: str, scratch: Path, spooled: Path | None = None) -> Opened:
    """Where the bytes of a source are, with nothing packed; a copy under ``scratch`` stands in where it is packed.

    Args:
        name: the file as the user named it.
        scratch: a folder for copies.
        spooled: the copy of a stream.

    Raises:
        DataError: a broken archive, or something that holds no rows.
    """
    place = OnDisk(spooled) if spooled else on_disk(name)
    return open_packed(name, place.path, place.member, "" if spooled else suffix_of(name), scratch)


def open_text(
    name: str, scratch: Path, *, encoding: str | None, checked: bool, opened: Opened | None = None
) -> TextFile:
    """Bring one source to UTF-8; a copy under ``scratch`` stands in for what is compressed or otherwise encoded.

    Args:
        name: the file as the user named it.
        scratch: a folder for copies.
        encoding: the encoding that the user gave, or None.
        checked: decode the whole file to decide, rather than its first part: a reader met other bytes further on.
        opened: where its bytes are, when that is known already.

    Raises:
        DataError: an empty file, an encoding that can't be told, a broken archive.
        UsageError: an unknown encoding.
    """
    opened = opened or open_source(name, scratch)
    path, suffix = opened.path, opened.suffix
    with path.open("rb") as source:
        head = source.read(_HEAD_BYTES)
    if not head.strip():
        raise DataError(f"{name}: the file is empty", hint="Leave it out, or export it again.")
    bom = bom_of(head)
    decision = _decide(path, name, head, encoding, checked=checked)
    skip = bom[1] if bom and decision.encoding == bom[0] else 0
    repairs = ("bom",) if skip else ()
    sure = None if encoding is not None else decision.confidence
    if decision.encoding == "utf-8" and not (checked and bom):
        return TextFile(path, name, suffix, skip, "utf-8", repairs, sure)
    with _scratch_file(scratch) as sink:
        transcode(path, sink, encoding=decision.encoding, skip=skip, name=name)
    doubt = doubt_about(path, decision.encoding) if encoding is not None else ""
    return TextFile(Path(sink.name), name, suffix, 0, decision.encoding, (*repairs, "encoding"), sure, doubt)


def _decide(path: Path, name: str, head: bytes, named: str | None, *, checked: bool) -> Decision:
    bom = bom_of(head)
    if named is not None:
        encoding = check_encoding_name(named)
        if bom and encoding.startswith("utf"):
            encoding = bom[0]
        if checked and encoding == "utf-8":
            check_utf8(path, name)
        return Decision(encoding, 1.0)
    if bom:
        return Decision(bom[0], 1.0)
    if b"\0" in head and (wide := wide_encoding(head)):
        return Decision(wide, MOST_DETECTED)
    if head.count(b"\0") > max(_FEW_ZEROS, len(head) * _MOST_ZEROS):
        raise DataError(
            f"{name}: {head.count(0):,} of its first {len(head):,} bytes are zero: it is no text",
            hint="Name a text file; if it is text in another encoding, name that with --encoding.",
        )
    if not checked and looks_like_utf8(head):
        return Decision("utf-8", 1.0)
    return decide_encoding(path, name)


def _scratch_file(scratch: Path) -> IO[bytes]:
    import tempfile

    return tempfile.NamedTemporaryFile(dir=scratch, prefix="text.", delete=False)
