"""Progress read from growing files, wherever the pieces are cut."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.run.folder.monitor import (
    FileTail,
    LineBuffer,
    Progress,
    RunMonitor,
    detect_phase,
    load_history,
    parse_progress,
)
from lfwrap.run.folder.paths import RunPaths

LOG = "".join(
    json.dumps({"current_steps": step, "total_steps": 5, "loss": 1 / step, "lr": 0.1, "note": "é中"}) + "\n"
    for step in range(1, 6)
).encode()


@given(st.lists(st.integers(0, len(LOG))))
def test_lines_do_not_depend_on_where_the_pieces_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(LOG)]
    buffer = LineBuffer()
    lines = [line for start, end in itertools.pairwise(edges) for line in buffer.feed(LOG[start:end])]
    assert lines == LOG.decode().splitlines()
    assert [entry.step for line in lines if (entry := parse_progress(line))] == [1, 2, 3, 4, 5]


def test_carriage_returns_end_lines_as_bars_are_drawn_with_them() -> None:
    assert LineBuffer().feed(b"10%\r20%\r30%\n") == ["10%", "20%", "30%"]


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '{"current_steps": 1}', '{"current_steps": null, "total_steps": 1}']
)
def test_what_is_no_progress_is_passed_over(line: str) -> None:
    assert parse_progress(line) is None


def test_a_line_of_the_engine_is_understood() -> None:
    line = (
        '{"current_steps": 3, "total_steps": 12, "loss": 5.19, "lr": 0.0008, "epoch": 0.75, "percentage": 25.0,'
        ' "elapsed_time": "0:00:00", "remaining_time": "0:00:01", "throughput": 4312.03, "total_tokens": 1536}'
    )
    assert parse_progress(line) == Progress(3, 12, 5.19, None, 0.0008, 0.75, 1536)


def test_a_file_is_read_as_it_grows_and_again_when_it_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = FileTail(path)
    assert tail.read_lines() == []
    path.write_bytes(b"one\ntw")
    assert tail.read_lines() == ["one"]
    with path.open("ab") as sink:
        sink.write(b"o\n")
    assert tail.read_lines() == ["two"]
    path.write_bytes(b"1\n")
    assert tail.read_lines() == ["1"]


def test_of_a_step_that_was_done_twice_the_later_one_counts(tmp_path: Path) -> None:
    entries = [(1, 5.0), (2, 4.0), (3, 3.5), (3, 3.0), (4, 2.0)]
    text = "".join(json.dumps({"current_steps": s, "total_steps": 4, "loss": loss}) + "\n" for s, loss in entries)
    path = tmp_path / "trainer_log.jsonl"
    path.write_text(text + '{"current_steps": 4, "total_steps": 4, "epoch": 1.0}\n{"current', encoding="utf-8")
    assert [(entry.step, entry.loss) for entry in load_history(path)] == [(1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0)]


@pytest.mark.parametrize(
    ("line", "phase"),
    [
        (
            "[INFO|2026-11-22 02:29:05] llamafactory.data.loader:144 >> Loading dataset tiny.jsonl...",
            "reading the data",
        ),
        ("Running tokenizer on dataset:  50%|#####     | 8/16", "tokenising the data"),
        ("[INFO|trainer.py:1469] 2026-11-22 02:29:08,710 >> ***** Running training *****", "training"),
        ("[INFO|modeling_utils.py:748] 2026 >> loading weights file /m/model.safetensors", "loading the model"),
        ("something else", None),
    ],
)
def test_phases_are_told_by_the_engines_own_lines(line: str, phase: str | None) -> None:
    assert detect_phase(line) == phase


def test_a_monitor_tells_phases_forward_only_and_no_old_progress(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    attempt = paths.attempt(1)
    attempt.root.mkdir(parents=True)
    paths.output.mkdir()
    paths.trainer_log.write_text('{"current_steps": 1, "total_steps": 2, "loss": 1}\n', encoding="utf-8")
    monitor = RunMonitor(paths, attempt)
    attempt.stdout.write_text("Loading dataset x\n", encoding="utf-8")
    attempt.stderr.write_text("***** Running training *****\nLoading weights\n", encoding="utf-8")
    with paths.trainer_log.open("a", encoding="utf-8") as sink:
        sink.write('{"current_steps": 2, "total_steps": 2, "loss": 0.5}\n')
    assert list(monitor.poll()) == [Progress(2, 2, 0.5), "reading the data", "training"]
    assert list(monitor.poll()) == []
