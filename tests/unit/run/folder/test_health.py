"""``health.jsonl``: bounded, readable whatever stands in it, true to its peaks; and the lines of a running training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.run.folder.health import HealthLog, Sample, load_samples, load_warnings, merge, parse_sample
from lfwrap.run.folder.health_feed import PrintedJoiner, RankFeed, parse_printed, sample_of
from lfwrap.run.folder.monitor import Progress, parse_progress
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.folder.record import append_event


def test_a_long_training_keeps_to_its_bound_and_keeps_its_peaks(tmp_path):
    log = HealthLog(tmp_path / "health.jsonl", most_lines=100)
    for step in range(1, 5001):
        log.add(Sample(step, 5000, loss=1.0, grad_norm=50.0 if step == 1234 else 1.0, learning_rate=step / 5000))
    log.flush()
    found = load_samples(tmp_path / "health.jsonl")
    assert 50 <= len(found) <= 100
    assert max(each.grad_norm or 0 for each in found) == 50.0
    assert {each.loss for each in found} == {1.0}
    assert [each.step for each in found] == sorted(each.step for each in found)
    assert found[-1].step == 5000
    assert (tmp_path / "health.jsonl").stat().st_size < 100 * 120


def test_a_resumed_training_replaces_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "health.jsonl"
    for first, last, loss in ((1, 14, 2.0), (11, 20, 1.0)):
        log = HealthLog(path)
        for step in range(first, last + 1):
            log.add(Sample(step, loss=loss))
    found = load_samples(path)
    assert [(each.step, each.loss) for each in found] == [
        *((step, 2.0) for step in range(1, 11)),
        *((step, 1.0) for step in range(11, 21)),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")], ids=["nan", "inf", "-inf"]
)
def test_what_json_does_not_have_stands_as_text(tmp_path, value, text):
    HealthLog(tmp_path / "h").add(Sample(1, loss=value))
    assert json.loads((tmp_path / "h").read_text())["loss"] == text
    assert str(load_samples(tmp_path / "h")[0].loss) == text


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "null", "3", '{"step": "x"}', '{"step": -1}', '{"step": [1]}', '{"loss": 1}', '{"step": NaN}',
     '{"step": 1e400}', "[" * 100_000, '{"step": 1, "a": "' + "x" * 100_000 + '"}', '{"step": true}', '{"step"'],
)  # fmt: skip
def test_other_lines_are_passed_over(line):
    assert parse_sample(line) is None


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_any_line_is_a_sample_or_none(line):
    for text in (line, f'{{"step": 3, "loss": {line}}}', f'{{"step": {line}}}'):
        assert isinstance(parse_sample(text), Sample | None)
        parse_progress(text)
        parse_progress(text.replace("step", "current_steps"))
        parse_printed(f"{{'loss': {line}}}")


@given(st.lists(st.builds(Sample, step=st.integers(0, 99), loss=st.none() | st.floats(0, 9)), min_size=1))
def test_merged_lines_keep_the_mean_loss(samples):
    losses = [each.loss for each in samples if each.loss is not None]
    assert merge(samples).loss == (pytest.approx(sum(losses) / len(losses)) if losses else None)


def test_a_loss_that_is_no_number_is_seen_in_the_engines_log():
    entry = parse_progress('{"current_steps": 3, "total_steps": 9, "loss": NaN, "lr": 0.001}')
    assert entry is not None
    assert math.isnan(entry.loss or 0.0)
    text = parse_progress('{"current_steps": 3, "total_steps": 9, "loss": "high", "lr": [1]}')
    assert text == Progress(3, 9)


@pytest.mark.parametrize(
    ("line", "norm"),
    [
        ("{'loss': '5.646', 'grad_norm': '0.2412', 'learning_rate': '0.001', 'epoch': '0.125'}", "0.2412"),
        ("[default0]:{'loss': 5.646, 'grad_norm': 0.2412, 'learning_rate': 0.001, 'epoch': 0.12}", 0.2412),
        (" 10%|#   | 1/9 [00:01<00:07] {'loss': '0', 'grad_norm': 'nan', 'epoch': '1'}", "nan"),
        ("{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.001, 'epoch': 1.0}", "nan"),
    ],
)
def test_the_norm_is_read_from_what_the_plain_engine_prints(line, norm):
    assert (parse_printed(line) or {})["grad_norm"] == norm


@pytest.mark.parametrize(
    "line", ["", "loss", "{'loss': ", "{'loss': __import__('os')}", "{'loss': 1, **x}", "{'eval_loss': 1}", "'loss'"]
)
def test_other_printed_lines_are_passed_over(line):
    assert parse_printed(line) is None


def test_printed_lines_meet_their_entries_however_late_they_come():
    joiner = PrintedJoiner()
    entries = [Progress(step, 9, loss=5.0 - step, learning_rate=1e-3, epoch=step / 4) for step in range(1, 7)]
    for entry in entries[:3]:
        joiner.add_entry(entry)
    assert list(joiner.take()) == []
    for entry in entries[:2]:
        joiner.add_line(f"{{'loss': '{entry.loss:.4g}', 'grad_norm': '{entry.step}', 'epoch': '{entry.epoch:.4g}'}}")
    assert [(each.step, each.grad_norm) for each in joiner.take()] == [(1, 1.0), (2, 2.0)]
    for entry in entries[3:]:
        joiner.add_entry(entry)
    joiner.add_line("{'loss': '0', 'grad_norm': '5', 'epoch': '1.25'}")  # those of 3 and 4 were lost
    assert [(each.step, each.grad_norm) for each in joiner.take(is_over=True)] == [
        (3, None), (4, None), (5, 5.0), (6, None),
    ]  # fmt: skip


def test_entries_do_not_wait_for_ever_for_lines_that_nobody_prints():
    joiner = PrintedJoiner()
    for step in range(1, 20):
        joiner.add_entry(Progress(step, 99, loss=1.0))
    assert [each.step for each in joiner.take()] == list(range(1, 12))
    assert next(joiner.take(is_over=True)) == sample_of(Progress(12, 99, loss=1.0))


def write_rank(attempt: AttemptPaths, rank: int, *lines: dict[str, object] | str) -> None:
    path = attempt.rank(rank).health
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as sink:
        sink.writelines((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)


def test_the_first_rank_speaks_and_all_of_them_count(tmp_path):
    attempt = AttemptPaths(tmp_path)
    feed = RankFeed(attempt)
    assert not feed.is_there
    assert list(feed.read()) == []
    load = {"rss_bytes": 1000, "cpu_cores": 0.5}
    write_rank(attempt, 0, {"step": 1, "loss": 2.0, "memory_bytes": 10, "busy_percent": 100, **load})
    write_rank(attempt, 1, {"step": 1, "memory_bytes": 30, "busy_percent": 50, **load}, "{cut", "[]")
    assert feed.is_there
    assert [each.step for each in feed.read()] == [1]
    write_rank(attempt, 0, {"step": 2, "loss": 1.0})
    (second,) = feed.read()
    assert (second.loss, second.memory_bytes, second.busy_percent) == (1.0, 30, 75.0)
    assert (second.rss_bytes, second.cpu_cores) == (2000, 1.0)


def test_the_warnings_of_a_run_are_those_of_its_events(tmp_path: Path):
    paths = RunPaths(tmp_path)
    assert load_warnings(paths) == []
    append_event(paths, "started", attempt=0)
    append_event(paths, "warning", rule="loss-spike", step=3)
    append_event(paths, "warning", rule="loss-stuck", step=4)
    append_event(paths, "warning", rule="loss-spike", step=9)
    append_event(paths, "warning", rule=["x"])
    with paths.events.open("ab") as sink:
        sink.write(b'{"event": "warning", "rule"\n\xff\xfe warning\n[]\n"warning"')
    assert load_warnings(paths) == [{"rule": "loss-spike", "step": 9}, {"rule": "loss-stuck", "step": 4}]
