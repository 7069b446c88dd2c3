"""A zero byte, or an undecoded ISO-2022 escape, costs its own row and no other, in every layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

GOOD = [("why", "because"), ("怎么办", "别担心"), ("when", "now")]


def run(folder: Path, name: str, content: bytes) -> tuple[list[tuple[str, ...]], list[tuple[str, int]]]:
    (folder / name).write_bytes(content)
    report = prepare(Request((str(folder / name),), folder / "out", "x"))
    assert report.balanced
    lines = (folder / "out/x.jsonl").read_bytes().splitlines()
    rejects = [json.loads(line) for line in (folder / "out/x.rejects.jsonl").read_bytes().splitlines()]
    written = [tuple(turn["value"] for turn in json.loads(line)["conversations"]) for line in lines]
    return written, [(reject["rule"], reject["row"]) for reject in rejects]


def csv_of(rows: list[tuple[str, str]]) -> str:
    return "instruction,output\n" + "".join(f"{ask},{tell}\n" for ask, tell in rows)


def jsonl_of(rows: list[tuple[str, str]]) -> str:
    return "".join(f'{{"instruction": "{ask}", "output": "{tell}"}}\n' for ask, tell in rows)


@pytest.mark.parametrize("odd", [("w\0hy", "x"), ("q", "a\0"), ("\0\0\0", "a"), ("q", "\x1b$B4A;z\x1b(B")])
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_one_row_of_a_table_is_rejected(tmp_path, odd, place, encoding):
    rows = [*GOOD[:place], odd, *GOOD[place:]]
    filler = [(f"为什么第{number}次付款失败了？", f"请检查第{number}张银行卡的余额。") for number in range(40)]
    written, rejects = run(tmp_path, "a.csv", csv_of(rows + filler).encode(encoding))
    assert written == [*GOOD, *filler]
    assert rejects == [("escape-sequence" if "\x1b" in odd[1] else "zero-byte", place + 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("odd", ["w\0hy", "\0", r"w\u0000hy"])
def test_one_json_row_is_rejected(tmp_path, name, odd):
    lines = jsonl_of([GOOD[0], (odd, "x"), *GOOD[1:]])
    text = lines if name == "a.jsonl" else "[" + lines.strip().replace("\n", ",\n") + "]"
    written, rejects = run(tmp_path, name, text.encode())
    assert written == GOOD
    assert [row for _, row in rejects] == [2]
    assert rejects[0][0] == "zero-byte" or name == "a.json"


def test_zeros_after_the_end_of_a_file_are_a_rejected_row(tmp_path):
    """A disk that lost power leaves them."""
    text = csv_of(GOOD * 1 + [(f"q{number}", "a") for number in range(3000)])
    written, rejects = run(tmp_path, "a.csv", text.encode() + b"\0" * 50)
    assert len(written) == 3003
    assert rejects == [("field-count", 3004)]


def test_a_zero_byte_late_in_a_large_file(tmp_path):
    rows = [(f"question {number}", "an answer of some length so that the file is long") for number in range(30_000)]
    written, rejects = run(tmp_path, "a.csv", csv_of([*rows, ("q\0", "a"), ("last", "row")]).encode())
    assert (len(written), written[-1], rejects) == (30_001, ("last", "row"), [("zero-byte", 30_001)])


def test_a_backslash_that_spells_a_zero_byte_is_text(tmp_path):
    assert run(tmp_path, "a.csv", csv_of([(r"what is \u0000", "NUL")]).encode())[0] == [(r"what is \u0000", "NUL")]
