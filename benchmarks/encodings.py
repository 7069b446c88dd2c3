"""Whether `prepare-data` reads files in other encodings as what they are.

Usage: encodings.py [--seed N] [--each N] [--verbose] [--library NAME …]. Makes CSV and JSONL files in many encodings
and languages out of `encoding_texts.py`: from a single row to many KB, English with one other word in it, and long
files whose other letters begin late. Each is right (the text comes out as it went in), refused (with the way out), or
wrong: read as another text, without a word. Prints a table of these for each encoding and for each kind of file.
`--library` judges by the best guess of a detector alone, for comparison: chardet, charset-normalizer or
faust-cchardet, where they are installed. Ends with 1 when anything was read wrong.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import io
import json
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from encoding_texts import ENGLISH, SPARSE, TEXTS

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be+bom", "utf-16-le", "utf-16-be")
WESTERN = ("cp1252", "iso-8859-1", "iso-8859-15", "mac-roman", "cp850")
ENCODINGS: dict[str, tuple[str, ...]] = {
    "zh-Hans": ("gb18030", "gb2312", "gbk"),
    "zh-Hant": ("big5", "gb18030", "cp950"),
    "ja": ("cp932", "shift_jis", "euc-jp", "iso-2022-jp"),
    "ko": ("cp949", "euc-kr"),
    "de": WESTERN,
    "fr": WESTERN,
    "es": WESTERN,
    "pl": ("cp1250", "iso-8859-2"),
    "cs": ("cp1250", "iso-8859-2"),
    "ru": ("cp1251", "koi8-r", "cp866", "iso-8859-5"),
    "uk": ("cp1251", "koi8-u"),
    "punctuation": ("cp1252", "mac-roman", "gb18030"),
}
KINDS = {"row": 1, "few rows": 5, "page": 40, "long": 300, "one word": 12, "few words": 40, "late": 2500}


_PLAIN = str.maketrans("—–’", "--'")


@dataclass(frozen=True, slots=True)
class Sample:
    """One file: what it says, how it is encoded, and its bytes."""

    language: str
    encoding: str
    kind: str
    suffix: str
    text: str
    content: bytes


def samples(seed: int, each: int) -> Iterator[Sample]:
    """Files of every language, encoding and kind, ``each`` of them; the same for the same seed."""
    for language, own in ENCODINGS.items():
        for encoding in (*UNICODE, *own):
            for kind in KINDS:
                for number in range(each):
                    chance = random.Random(f"{seed} {language} {encoding} {kind} {number}")  # noqa: S311 - a seeded sample
                    suffix = chance.choice([".csv", ".csv", ".jsonl"])
                    text = _file_text(chance, language, kind, suffix)
                    content = _encode(text, encoding)
                    if content is None:  # an old encoding may lack some punctuation, and people then write this
                        text = text.translate(_PLAIN)
                        content = _encode(text, encoding)
                    if content is not None:
                        yield Sample(language, encoding, kind, suffix, text, content)


def _encode(text: str, encoding: str) -> bytes | None:
    if encoding == "utf-16-be+bom":
        return codecs.BOM_UTF16_BE + text.encode("utf-16-be")
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        return None


def _file_text(chance: random.Random, language: str, kind: str, suffix: str) -> str:
    rows = [_row(chance, language, kind, number) for number in range(KINDS[kind])]
    if kind == "late":
        rows[-6:] = [_row(chance, language, "page", number) for number in range(6)]
    elif kind in {"one word", "few words"}:
        for _ in range(1 if kind == "one word" else 6):
            word = chance.choice(SPARSE.get(language) or [text for pair in TEXTS[language] for text in pair])
            ask, tell = ENGLISH[4]
            rows[chance.randrange(len(rows))] = (ask.replace("{word}", word), tell.replace("{word}", word))
    if suffix == ".jsonl":
        return "".join(
            json.dumps({"instruction": ask, "output": tell}, ensure_ascii=False) + "\n" for ask, tell in rows
        )
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator=chance.choice(["\n", "\r\n"]))
    writer.writerow(("instruction", "output"))
    writer.writerows(rows)
    return sink.getvalue()


def _row(chance: random.Random, language: str, kind: str, number: int) -> tuple[str, str]:
    if kind in {"one word", "few words", "late"} or language == "punctuation":
        ask, tell = chance.choice(ENGLISH)
        word = chance.choice(SPARSE["punctuation"]) if language == "punctuation" and kind == "page" else "plum"
        return f"{ask} ({number})".replace("{word}", word), tell.replace("{word}", word)
    ask, tell = chance.choice(TEXTS[language])
    more = chance.choice(TEXTS[language])[1] if chance.random() < 0.3 else ""
    return (ask if number < 12 else f"{ask} ({number})"), f"{tell} {more}".strip()


def by_lfwrap(sample: Sample, folder: Path) -> str | None:
    """The text that lfwrap reads, or None when it refuses."""
    from lfwrap.data.readers.sources import open_text
    from lfwrap.errors import DataError

    path = folder / f"a{sample.suffix}"
    path.write_bytes(sample.content)
    try:
        text = open_text(str(path), folder, encoding=None, checked=True)
    except DataError:
        return None
    content = text.path.read_bytes()[text.start :].decode()
    if text.path != path:
        text.path.unlink()
    return content


def by_library(name: str) -> Callable[[Sample, Path], str | None]:
    """A function like `by_lfwrap` that takes a detector's first guess."""

    def guess(content: bytes) -> str | None:
        if name == "chardet":
            import chardet

            return chardet.detect(content, max_bytes=len(content))["encoding"]
        if name == "faust-cchardet":
            import cchardet

            return cchardet.detect(content)["encoding"]
        import charset_normalizer

        best = charset_normalizer.from_bytes(content).best()
        return best.encoding if best else None

    def read(sample: Sample, _folder: Path) -> str | None:
        encoding = guess(sample.content)
        try:
            return sample.content.decode(encoding).removeprefix("\ufeff") if encoding else None
        except (UnicodeError, LookupError):
            return None

    return read


def judge(files: Iterator[Sample], read: Callable[[Sample, Path], str | None]) -> Iterator[tuple[Sample, str]]:
    """Each file with ``right``, ``refused`` or ``wrong``."""
    with tempfile.TemporaryDirectory() as folder:
        for sample in files:
            text = read(sample, Path(folder))
            yield sample, "refused" if text is None else "right" if text == sample.text else "wrong"


def show(title: str, counts: dict[str, Counter[str]]) -> None:
    """Print one table."""
    print(f"\n{title:24}{'files':>8}{'right':>8}{'refused':>9}{'wrong':>8}")
    for name, count in counts.items():
        print(f"{name:24}{count.total():8}{count['right']:8}{count['refused']:9}{count['wrong']:8}")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=3, help="files of each language, encoding and kind")
    parser.add_argument("--library", action="append", default=[])
    parser.add_argument("--verbose", action="store_true", help="name the files that are not right")
    arguments = parser.parse_args()
    wrong = 0
    for name in arguments.library or ["lfwrap"]:
        read = by_lfwrap if name == "lfwrap" else by_library(name)
        by_encoding: dict[str, Counter[str]] = defaultdict(Counter)
        by_kind: dict[str, Counter[str]] = defaultdict(Counter)
        started = time.perf_counter()
        for sample, verdict in judge(samples(arguments.seed, arguments.each), read):
            by_encoding[sample.encoding][verdict] += 1
            by_kind[sample.kind][verdict] += 1
            if arguments.verbose and verdict != "right":
                shown = "".join(letter for letter in sample.text if not letter.isascii())[:30]
                print(f"{verdict}: {sample.encoding} {sample.language} {sample.kind} {sample.suffix}: {shown}")
        total: Counter[str] = sum(by_kind.values(), Counter())
        wrong += total["wrong"]
        print(f"\n{name}: {time.perf_counter() - started:.1f} s")
        show("encoding", {**by_encoding, "all": total})
        show("kind", by_kind)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
