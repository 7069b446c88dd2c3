"""Curves, speed and memory from the engine's log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.report.data_counts import count_rows
from lfwrap.report.measured import load_entries, measure, read_curves


def entry(step: int, seconds: float, tokens: int, **more: float) -> dict:
    return {"current_steps": step, "loss": 1.0 / step, "total_tokens": tokens, "throughput": tokens / seconds, **more}


def test_lines_that_are_cut_off_or_no_entries_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "trainer_log.jsonl"
    path.write_text('{"current_steps": 1, "loss": 2}\n[]\n{"loss": 1}\n{"current_steps": 2, "lo\n', encoding="utf-8")
    assert load_entries(path) == [{"current_steps": 1, "loss": 2}]
    assert load_entries(tmp_path / "absent") == []


def test_a_step_done_twice_counts_as_it_was_done_last() -> None:
    entries = [
        {"current_steps": 2, "loss": 3.0, "lr": 0.1},
        {"current_steps": 3, "loss": 2.0},
        {"current_steps": 2, "loss": 2.5, "lr": 0.2},
        {"current_steps": 3, "eval_loss": 1.5},
        {"current_steps": 4, "loss": None, "lr": True},
    ]
    curves = read_curves(entries)
    assert curves["loss"] == [(2, 2.5), (3, 2.0)]
    assert curves["eval_loss"] == [(3, 1.5)]
    assert curves["learning_rate"] == [(2, 0.2)]


def test_the_first_step_of_an_attempt_is_no_measure_of_its_speed() -> None:
    entries = [entry(1, 30.0, 100), entry(2, 31.0, 200), entry(3, 32.5, 300)]
    found = measure(entries)
    assert (found.steps_timed, found.training_s) == (2, pytest.approx(2.5))
    assert found.step_s == pytest.approx(1.25)
    assert found.tokens_per_s == pytest.approx(200 / 2.5)


def test_attempts_are_timed_apart() -> None:
    first = [entry(1, 10.0, 100), entry(2, 11.0, 200), entry(3, 12.0, 300)]
    resumed = [entry(3, 9.0, 300), entry(4, 10.0, 400), entry(5, 11.0, 500)]
    found = measure([*first, *resumed])
    assert (found.steps_timed, found.step_s) == (4, pytest.approx(1.0))
    assert found.tokens_per_s == pytest.approx(100.0)
    assert found.training_s == pytest.approx(4.0)


def test_losses_that_are_logged_every_ten_steps_give_the_time_of_one() -> None:
    assert measure([entry(10, 10.0, 100), entry(20, 30.0, 200)]).step_s == pytest.approx(2.0)


def test_memory_is_the_most_that_was_logged_and_none_on_a_cpu() -> None:
    logged = [entry(1, 1.0, 1, vram_allocated=1.5, vram_reserved=3.0), entry(2, 2.0, 2, vram_allocated=1.25)]
    found = measure(logged)
    assert (found.peak_allocated_bytes, found.peak_reserved_bytes) == (3 << 29, 3 << 30)
    assert measure([entry(1, 1.0, 1, vram_allocated=0.0, vram_reserved=-0.0)]).peak_allocated_bytes is None


@pytest.mark.parametrize("entries", [[], [{"current_steps": 1, "loss": 1.0}], [entry(1, 1.0, 10)]])
def test_too_little_to_tell_the_speed(entries: list) -> None:
    found = measure(entries)
    assert (found.step_s, found.tokens_per_s) == (None, None)


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 2}\n', 2),
        ("a.jsonl", '{"a": 1}\n{"a": 2}', 2),
        ("a.jsonl", "", 0),
        ("a.json", json.dumps([1, 2]), None),
    ],
)
def test_rows_are_lines(tmp_path: Path, name: str, text: str, rows: int | None) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert count_rows(path, len(text)) == rows
    assert count_rows(path, len(text) + 1) is None
    assert count_rows(tmp_path / "gone.jsonl", 0) is None
