"""Cutting a CSV file never changes its rows, and a large cell is read as often with two jobs as with one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lfwrap.data.output.data_report import DataReport
from lfwrap.data.prepare import prepare
from lfwrap.data.readers.blocks import CsvBlock
from lfwrap.data.readers.chunk_plan import Chunk, ChunkPlan, Layout, cut
from lfwrap.data.readers.tables.row_borders import end_of_csv_row
from lfwrap.data.request import Request
from lfwrap.errors import DataError

WINDOW_BYTES = 1 << 16
RAW = st.lists(st.sampled_from(['"', ",", "\n", "\r\n", "\r", "a", "é", " ", '""', '","']), max_size=40).map("".join)


def rows_of(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def rows_in_pieces(path: Path, chunk_bytes: int, *, exactly: bool) -> list[list[str]]:
    """The rows of a file, read as a preparation does: on from where the last whole row ended."""
    plan, start, size = ChunkPlan(Layout.CSV, path, 0, path.stat().st_size, header=("a",)), 0, chunk_bytes
    rows: list[list[str]] = []
    while start < plan.size:
        chunk = next(cut(plan, start, size, exactly=exactly))
        block = CsvBlock(chunk.read(), chunk)
        block.scan()
        rows += block.rows
        start += block.consumed_bytes
        size = chunk_bytes if block.consumed_bytes else 2 * size
    return rows


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RAW, st.integers(1, 30), st.booleans())
@example('a"\n"b\nc",d\n', 1, False)
@example('a\r"b\rc"\rd', 1, True)
def test_no_cut_changes_the_rows(tmp_path_factory: pytest.TempPathFactory, raw: str, size: int, exactly: bool) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.csv"
    path.write_bytes(raw.encode())
    assert rows_in_pieces(path, size, exactly=exactly) == rows_of(raw.encode())


@settings(max_examples=200, deadline=None)
@given(RAW, st.integers(0, 30))
def test_a_border_that_was_read_is_the_end_of_a_row(raw: str, end: int) -> None:
    content = raw.encode()
    end = min(end, len(content))
    border = end_of_csv_row(io.BytesIO(content), ",", 0, end, 1 << 20)
    assert end <= border <= len(content)
    assert rows_of(content[:border]) + rows_of(content[border:]) == rows_of(content)


def big_cell() -> str:
    return '"' + "a line of it, and more\n" * (5 * WINDOW_BYTES // 20) + '"'


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        (f"q1,{big_cell()}\nq2,a2\n", 2),
        (f'q1,5" pipe\nq2,{big_cell().replace(", and", " and")}\nq3,a3\n', 3),
        ('q1,"a ""b"" c\nd"\n' * 9000, 9),
        ("q1,a1\n" + f"q2,{big_cell()}\n" * 3, 4),
    ],
)
def test_a_large_cell_is_never_cut(tmp_path: Path, text: str, chunks: int) -> None:
    """Chunks are given out before the first of them is read: one that ends within a cell is work for nothing."""
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    plan = ChunkPlan(Layout.CSV, path, 0, path.stat().st_size, header=("ask", "answer"))
    found = []
    for chunk in cut(plan, 0, 1 << 14):
        block = CsvBlock(chunk.read(), chunk)
        block.scan()
        assert block.consumed_bytes == chunk.end - chunk.start
        found.append(chunk)
    assert len(found) <= chunks + 1


def test_one_wrong_cut_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lone quotes make an open cell look closed; after that, rows are read to find their ends."""
    asked: list[bool] = []

    def noting(plan: ChunkPlan, start: int, chunk_bytes: int, *, exactly: bool) -> Iterator[Chunk]:
        asked.append(exactly)
        return cut(plan, start, chunk_bytes, exactly=exactly)

    monkeypatch.setattr("lfwrap.data.workers.parallel.cut", noting)
    report, _ = prepared(tmp_path, "ask,answer\n" + f'q1,5" pipe\nq2,{big_cell()}\n' * 4, chunk_bytes=1 << 14)
    assert (report.rows_in, asked) == (8, [False, True])


def prepared(tmp_path: Path, text: str, **options: Any) -> tuple[DataReport, list[tuple[str, ...]]]:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    report = prepare(Request((str(tmp_path / "a.csv"),), tmp_path / "out", "x", force=True, **options))
    lines = (tmp_path / "out/x.jsonl").read_text(encoding="utf-8").splitlines()
    return report, [tuple(turn["value"] for turn in json.loads(line)["conversations"]) for line in lines]


def test_jobs_and_cuts_give_the_same_rows_around_large_cells_and_lone_quotes(tmp_path: Path) -> None:
    odd = "".join(f'{n}" pipe{n},a{n}\n' + f'"q{n}\nmore","b\n{n}"\n' for n in range(400))
    text = f"ask,answer\n{odd}q1,{big_cell()}\n{odd.replace('pipe', 'bolt').replace('more', 'less')}"
    results = [prepared(tmp_path, text, jobs=jobs, chunk_bytes=size) for jobs, size in ((1, 1 << 20), (2, 700), (1, 9))]
    assert results[0][0].rows_out == 1601
    assert results[0][1] == results[1][1] == results[2][1]


def test_a_row_that_never_ends_is_refused_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lfwrap.data.readers.chunk_plan", "lfwrap.data.workers.parallel"):
        monkeypatch.setattr(f"{module}.LARGEST_CHUNK_BYTES", 1 << 17)
    with pytest.raises(DataError, match=r"a\.csv:3  no record ends within"):
        prepared(tmp_path, 'ask,answer\nq,a\nw,"b\n' + "x,c\n" * 90000, chunk_bytes=1 << 14)
