"""Which encoding a text file has: byte order mark, then strict UTF-8, else what it reads best in, if that is sure.

A file that is not UTF-8 is decoded strictly in every usual encoding, and what it would read is weighed twice: by which
characters texts consist of (`readings`), and by a detector library's models of languages. Where both give the same
text, or one is far ahead of everything else, that is the encoding; else the file is refused. A guess is never silent.
"""

from __future__ import annotations

import codecs
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lfwrap.data.schema.redaction import redact
from lfwrap.errors import DataError, Finding, UsageError

if TYPE_CHECKING:
    from lfwrap.data.readers.encodings.byte_sample import ByteSample
    from lfwrap.data.readers.encodings.readings import Reading

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LEAST_CONFIDENCE = 0.75
MOST_DETECTED = 0.99  # what is no more than detected is never certain
_HALVING_BITS = 4.5  # so that what is sure enough is 9 bits more likely than anything else
_VOICE_BITS = (-4.0, 2.5, 3.4)  # of a detector that says so never, once, twice
_AHEAD_ALONE_BITS = 40.0
_FEW_CHARACTERS = 8  # of so few, rare ones of one encoding are frequent ones of another by chance
_FEW_BITS = (6.0, 6.0, 3.0)  # by the votes
_MOST_UNSUPPORTED = 0.5
_MOST_HUMPS = 0.05  # share of capitals right after small letters
_ODDEST_BITS = 14.0
_ODDEST_OF_BYTES_BITS = 9.5  # where each byte is a character
_ODDEST_WIDE_BITS = 14.0
_DOUBT_BITS = 25.0
_SHOWN_READINGS = 3
_SHOWN_BEFORE = 12
_SHOWN_CHARACTERS = 36
_WIDE_BYTES = 1 << 16
_NO_TEXT = frozenset({"Cc", "Cn", "Co", "Cs"})
_OF_SEVERAL_BYTES = frozenset({"gb18030", "cp950", "big5hkscs", "cp932", "euc_jp", "cp949"})
_SEVEN_BITS = "iso2022_jp"
# Those that the detector may choose from, by its names.
_DETECTED = (
    "gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949", "iso8859-1", "cp1252", "iso8859-15", "mac-roman",
    "cp1250", "iso8859-2", "cp1251", "koi8-r", "koi8-u", "cp866", "iso8859-5", "cp850", "cp437", "cp852", "cp1253",
    "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "mac-cyrillic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """The encoding of a file and how sure that is, from 0 to 1; 1 for what can't be anything else."""

    encoding: str
    confidence: float


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


def wide_encoding(head: bytes) -> str | None:
    r"""UTF-16 or UTF-32 without a byte order mark, told by the zero bytes beside ASCII characters, or None.

    >>> wide_encoding("名称,答案\n".encode("utf-16-le")), wide_encoding(b"a,b\n\0,c\n")
    ('utf-16-le', None)
    """
    if b"\0" not in head:
        return None
    import unicodedata

    from lfwrap.data.readers.encodings.readings import oddness_bits

    head = head[:_WIDE_BYTES]
    found: dict[str, int] = {}
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        ascii_count = sum(letter.isascii() for letter in text)
        odd = sum(unicodedata.category(letter) in _NO_TEXT and letter not in "\t\r\n" for letter in text)
        if odd * 500 <= len(text) and ascii_count * 50 >= len(text) and oddness_bits(text) < _ODDEST_WIDE_BITS:
            found[encoding] = ascii_count
    return max(found, key=found.__getitem__, default=None)


def decide_encoding(path: Path, name: str) -> Decision:
    """The encoding of a file without a byte order mark, from all of its bytes.

    Raises:
        DataError: no encoding is sure enough; says which are the most likely, and how the file would read in each.
    """
    from lfwrap.data.readers.encodings.byte_sample import first_failure, sample_bytes
    from lfwrap.data.readers.encodings.readings import readings

    sample = sample_bytes(path)
    if sample.has_escapes and first_failure(path, _SEVEN_BITS) is None:
        return Decision(_SEVEN_BITS, MOST_DETECTED)
    if sample.utf8_fails_at is None:
        return Decision("utf-8", 1.0)
    found = readings(sample.near)
    confidence = _confidence(sample, found)
    if confidence < LEAST_CONFIDENCE:
        raise _unsure(name, sample.utf8_fails_at, found, confidence)
    failures = []
    for encoding in found[0].encodings:
        failure = first_failure(path, encoding)
        if failure is None:
            return Decision(encoding, confidence)
        failures.append((failure, encoding))
    failure, encoding = max(failures)
    raise DataError(
        f"{name}: it reads as {encoding}, but byte {failure:,} is none of that encoding (nor all of it UTF-8)",
        hint="Repair the file there, or save it as UTF-8.",
    )


def _confidence(sample: ByteSample, found: Sequence[Reading]) -> float:
    """How sure the first of some readings is: by how far the second is less likely, and by what the detector says."""
    best = found[0]
    if not _reads_like_text(best):
        return 0.0
    ahead_bits = found[1].bits - best.bits if len(found) > 1 else _AHEAD_ALONE_BITS
    votes = _votes(sample, best)
    ahead_bits += _VOICE_BITS[votes]
    if sum(not letter.isascii() for letter in best.text) < _FEW_CHARACTERS:
        ahead_bits -= _FEW_BITS[votes]
    # In single bytes any text reads as letters of some alphabet, if it is of an encoding that isn't tried.
    most = MOST_DETECTED if votes or not _is_of_bytes(best) else _MOST_UNSUPPORTED
    return round(min(most, max(0.0, 1.0 - math.pow(2.0, -ahead_bits / _HALVING_BITS))), 2)


def _reads_like_text(reading: Reading) -> bool:
    if not _is_of_bytes(reading):
        return reading.oddness_bits < _ODDEST_BITS
    humps = sum(
        before.islower() and after.isupper() and not (before.isascii() and after.isascii())
        for before, after in itertools.pairwise(reading.text)
    )
    of_all = sum(not letter.isascii() for letter in reading.text)
    return reading.oddness_bits < _ODDEST_OF_BYTES_BITS and humps <= of_all * _MOST_HUMPS


def _is_of_bytes(reading: Reading) -> bool:
    return not _OF_SEVERAL_BYTES.intersection(reading.encodings)


def _votes(sample: ByteSample, best: Reading) -> int:
    """How often a detector's first guess reads as the same text: given words beyond ASCII, and given whole lines."""
    import chardet

    from lfwrap.data.readers.encodings.readings import read_as

    votes = 0
    for content in (b"\n".join([*sample.near, *sample.far]), b"\n".join(sample.lines or sample.near)):
        found = chardet.detect_all(
            content, ignore_threshold=True, max_bytes=len(content), compat_names=False, include_encodings=_DETECTED
        )
        guess = found[0]["encoding"] if found else None
        votes += guess is not None and (guess in best.encodings or read_as(sample.near, guess) == best.text)
    return votes


def doubt_about(path: Path, encoding: str) -> str:
    """Why a file that its user said to have an encoding probably has another one, or nothing."""
    from lfwrap.data.readers.encodings.byte_sample import sample_bytes
    from lfwrap.data.readers.encodings.readings import readings

    sample = sample_bytes(path)
    if not sample.near or encoding.startswith(("utf", "iso2022")):
        return ""
    if sample.utf8_fails_at is None:
        return f"all of it is valid UTF-8, which text in {encoding} hardly ever is"
    found = readings(sample.near, encoding)
    own = next((reading for reading in found if encoding in reading.encodings), None)
    if own is None or own is found[0] or not _reads_like_text(found[0]):
        return ""
    if own.bits - found[0].bits < _DOUBT_BITS:
        return ""
    read, better = _snippet(own.text), _snippet(found[0].text)
    return f"in {encoding} it reads “{read}”, in {found[0].encodings[0]} “{better}”"


def _unsure(name: str, utf8_fails_at: int, found: Sequence[Reading], confidence: float) -> DataError:
    where = f"{name}: unknown text encoding: UTF-8 fails at byte {utf8_fails_at:,}"
    if not _reads_like_text(found[0]):
        return DataError(
            f"{where}; in no encoding does it read like text",
            hint="Name it with --encoding (latin-1, cp1252, big5, shift_jis …), or save the file as UTF-8.",
        )
    shown = found[:_SHOWN_READINGS]
    names = [reading.encodings[0] for reading in shown]
    return DataError(
        f"{where}; the best guess, {names[0]}, is only {confidence:.0%} sure ({LEAST_CONFIDENCE:.0%} are needed)",
        hint=f"Name the one that reads right: --encoding {names[0]} (or {', '.join(names[1:]) or 'another'}).",
        findings=[
            Finding("encoding", f"{names[number]} reads: “{_snippet(reading.text)}”", file=name)
            for number, reading in enumerate(shown)
        ],
    )


def _snippet(text: str) -> str:
    """The first words beyond ASCII, shortened, without secrets and control characters."""
    text = redact(text.replace("\n", " … "))
    start = next((place for place, letter in enumerate(text) if not letter.isascii()), 0)
    cut = max(0, start - _SHOWN_BEFORE)
    text = text[cut and max(cut, text.find(" ", cut, start) + 1) : start + _SHOWN_CHARACTERS]
    return "".join(letter if letter.isprintable() else "�" for letter in text).strip()


def check_utf8(path: Path, name: str) -> None:
    """Decode a file that its user said to be UTF-8. Raises DataError where it is not."""
    from lfwrap.data.readers.encodings.byte_sample import first_failure

    failure = first_failure(path, "utf-8")
    if failure is not None:
        raise DataError(
            f"{name}: not utf-8: byte {failure:,} is no part of a character",
            hint="Leave --encoding out to have the encoding found, or name the right one.",
        )


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
    from lfwrap.data.readers.encodings.byte_sample import blocks_of

    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    try:
        for block in blocks_of(path):
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
