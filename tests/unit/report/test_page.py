"""`lfwrap runs report`: what stands in the page and in its JSON, and what never does."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser

import pytest

from lfwrap.cli.app import run as lfwrap
from lfwrap.report.page import changed_settings, history_lines, render_page, short_names
from lfwrap.report.run_report import describe_run
from lfwrap.report.secrets import named_secrets, scrub
from lfwrap.run.folder.health import Sample
from lfwrap.run.folder.record import RunState, append_event
from lfwrap.run.supervise.health import HealthWarning
from lfwrap.units import GIB
from tests.unit.report.conftest import write_jsonl

TOKEN = "hf_" + "aB3" * 12


class Text(HTMLParser):
    """The page's text and its tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.tags = [], []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(*runs) -> Text:
    return Text(render_page([describe_run(run) for run in runs]))


def test_the_page_says_everything_of_a_run(make_run):
    text = page_of(make_run()).text
    for words in (
        "40 of 40",
        "2.0000 → 0.0500",
        "0.1500, best 0.1500",
        "1 × 1 × 1 = 1",
        "10.50 GiB",
        "peak allocated memory 10.00 GiB 10.50 GiB 1.05",
        "an update 2.5 s 2.0 s 0.80",
        "Out of memory. oom: Halve it.",
        "1 min 10 s",
        "law was prepared from 12 rows: 7 written, 3 rejected, 2 duplicates, 0 left out.",
        "90,112 of 1,140,608",
        "1,600",
        "training 42, data 42",
        "H200",
        "570.1",
        "torch 2.9.1",
        f"{'c' * 40} with uncommitted changes",
        "cd /w A='1 2' \\ HF_TOKEN='***' \\ python train_engine.py engine.yaml",
        "lfwrap train law.yaml",
        "learning_rate: 0.001",
    ):
        assert words in text, words


def test_the_verdict_stands_on_the_page_and_what_is_in_it_is_text(make_run):
    run = make_run()
    finding = {
        "rule": "overfitted",
        "message": "It <b>only</b> rose.",
        "severity": "warning",
        "hint": "Take checkpoint-3.",
    }
    verdict = {
        "kind": "overfitted",
        "summary": "It was least at update 3.",
        "findings": [finding],
        "left_out": ["sizes"],
    }
    run.paths.verdict.write_text(json.dumps({**verdict, "attempt": run.record.attempt}), encoding="utf-8")
    text = page_of(run).text
    for words in ("Verdict: overfitted. It was least at update 3.", "It <b>only</b> rose. Take checkpoint-3.", "sizes"):
        assert words in text
    assert "overfitted" in page_of(run, make_run("20261122T010203Z-law-0a1b2c3e")).text


def test_the_page_loads_nothing(make_run):
    page = render_page([describe_run(make_run())])
    tags = Text(page).tags
    assert [attrs for _, attrs in tags if "src" in attrs] == []
    assert {attrs["href"] for tag, attrs in tags if tag == "link"} == {"data:,"}
    assert "@import" not in page
    assert "url(" not in page
    [policy] = [attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")


def test_what_comes_from_files_is_text(make_run):
    nasty = "</script><script>alert(1)</script>"
    run = make_run(base_model=nasty, reason=nasty, datasets=(nasty,))
    run.paths.recipe.write_text(f"x: '{nasty}'\n", encoding="utf-8")
    page = render_page([describe_run(run), describe_run(run)])
    assert nasty not in page
    assert nasty in Text(page).text


def test_secrets_are_in_neither_page_nor_json(make_run, monkeypatch, tmp_path, capsys):
    run = make_run(reason=f"could not log in with {TOKEN}", base_model="https://me:geheim123@hub/x")
    run.paths.engine_yaml.write_text("hf_hub_token: plain-words-here\nswanlab_api_key: otherword\n", encoding="utf-8")
    run.paths.recipe.write_text("# plain-words-here\nlearning_rate: 1\nx: {api_key: inner-word}\n", encoding="utf-8")
    run.paths.attempt(1).exit.write_text('{"reason": "otherword and inner-word"}', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert lfwrap(["runs", "report", "--json", "-o", "page.html"]) == 0
    both = capsys.readouterr().out + (tmp_path / "page.html").read_text(encoding="utf-8")
    for secret in (TOKEN, "geheim123", "plain-words-here", "otherword", "inner-word"):
        assert secret not in both
    assert "***" in both


def test_short_values_are_no_secrets_to_look_for():
    assert list(named_secrets({"token": "abc", "a": [{"password": "long enough"}], "api_key": None})) == ["long enough"]
    assert scrub({"api_key": "x", "n": 3, "t": ("a",)}, frozenset()) == {"api_key": "***", "n": 3, "t": ["a"]}


def test_several_runs_share_their_plots(make_run):
    first, second = make_run("20261122T010203Z-law-0a1b2c3d"), make_run("20261122T020203Z-law-r16-1a1b2c3d")
    second.paths.engine_yaml.write_text("learning_rate: 0.002\noutput_dir: /w/other\n", encoding="utf-8")
    page = page_of(first, second)
    assert "law 0.05" in page.text
    assert "law-r16, evaluation 0.15" in page.text
    assert "Settings that differ key law law-r16 learning_rate 0.001 0.002" in page.text
    assert "output_dir" not in page.text.split("Settings that differ")[1].split("20261122")[0]
    plots = [attrs for tag, attrs in page.tags if tag == "figure"]
    assert [plot["data-plot"] for plot in plots] == ["Loss", "Learning rate"]


def test_gradients_noise_memory_and_load_are_drawn_and_warnings_stand_at_the_top(make_run):
    run = make_run("20260301T120000Z-law-aa")
    lines = [
        Sample(n, 40, 1.0, grad_norm=0.5 if n < 30 else math.nan, spread=0.1, rss_bytes=GIB, cpu_cores=1.5,
               memory_bytes=2 * GIB, reserved_bytes=3 * GIB, busy_percent=98.0)
        for n in range(1, 41)
    ]  # fmt: skip
    write_jsonl(run.paths.health, [line.to_json() for line in lines])
    append_event(run.paths, "warning", **HealthWarning("loss-not-finite", 30, "the norm is nan").to_json())
    described = describe_run(run)
    assert described["curves"]["gpu_memory"][-1] == [40, 2.0]
    page = page_of(run)
    assert [attrs["data-plot"] for tag, attrs in page.tags if tag == "figure"] == [
        "Loss", "Noise of the loss", "Norm of the gradients", "Learning rate", "GPU memory, GiB", "GPU utilisation, %",
        "Main memory, GiB", "CPU cores in use",
    ]  # fmt: skip
    assert "loss-not-finite at update 30" in page.text
    assert "At update 30: the norm is nan." in page.text


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["20261122T010203Z-law-0a1b2c3d"], ["20261122T010203Z-law-0a1b2c3d"]),
        (["1Z-a-x", "2Z-b-x"], ["a", "b"]),
        (["1Z-a-x", "2Z-a-y"], ["a-x", "a-y"]),
        (["1Z-a-x", "2Z-a-x"], ["1Z-a-x", "2Z-a-x"]),
        (["same", "same"], ["same (1)", "same (2)"]),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(names, short):
    assert short_names(names) == short


def test_settings_that_only_one_run_has_are_a_difference():
    assert changed_settings([{"settings": {"a": 1, "b": 2}}, {"settings": {"a": 1}}]) == [("b", ["2", "–"])]


def test_a_run_that_has_hardly_begun_has_a_page(make_run):
    run = make_run(attempt=-1, state=RunState.PREPARED, first_loss=None, last_loss=None, global_step=0, max_steps=0)
    kept = {run.paths.record, run.paths.root}
    for path in sorted(run.paths.root.rglob("*"), reverse=True):
        if path not in kept:
            path.unlink() if path.is_file() else path.rmdir()
    text = page_of(run).text
    assert "there are no curves" in text
    assert "has not been started yet" in text


def test_broken_files_are_left_out(make_run):
    run = make_run()
    for path in (run.paths.plan, run.paths.environment, run.paths.inputs, run.paths.attempt(0).exit):
        path.write_text("{", encoding="utf-8")
    run.paths.events.write_text("x\n", encoding="utf-8")
    run.paths.engine_yaml.write_text("a: [", encoding="utf-8")
    assert "40 of 40" in page_of(run).text


def test_the_page_lies_in_the_run_and_is_made_anew(make_run, monkeypatch, tmp_path, capsys):
    run = make_run()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert lfwrap(["runs", "report"]) == 0
        assert capsys.readouterr().out.strip() == str(run.paths.report)
    assert run.paths.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_several_runs_get_a_page_beside_them(make_run, monkeypatch, tmp_path, capsys):
    make_run("one")
    make_run("two")
    monkeypatch.chdir(tmp_path)
    assert lfwrap(["runs", "report", "one", "two"]) == 0
    assert capsys.readouterr().out.strip() == "runs/report.html"


def test_a_named_file_is_not_overwritten_without_force(make_run, monkeypatch, tmp_path, capsys):
    make_run()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.html").write_text("mine", encoding="utf-8")
    assert lfwrap(["runs", "report", "-o", "page.html"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "mine"
    assert lfwrap(["runs", "report", "-o", "page.html", "--force"]) == 0


def test_json_has_the_curves_and_writes_no_page(make_run, monkeypatch, tmp_path, capsys):
    run = make_run()
    monkeypatch.chdir(tmp_path)
    assert lfwrap(["runs", "report", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["schema"], value["page"]) == ("lfwrap.run-report/1", None)
    [described] = value["runs"]
    assert described["curves"]["loss"][:2] == [[1, 2.0], [2, 1.0]]
    assert [attempt["state"] for attempt in described["attempts"]] == ["failed", "succeeded"]
    assert described["data"]["files"][0]["rows"] == 7
    assert not run.paths.report.exists()


def test_what_happened_is_told_without_the_plain_starts():
    at = "2026-11-22T05:06:07.123Z"
    events = [
        {"time": at, "event": "prepared", "state": "prepared"},
        {"time": at, "event": "state", "before": "prepared", "state": "running"},
        {"time": at, "event": "started", "attempt": 0},
        {"time": at, "event": "stop", "level": "asked", "signals": [2, 15]},
        {"time": at, "event": "state", "before": "running", "state": "failed", "reason": "It broke."},
        {"time": at, "event": "memory-lowered", "changes": {"per_device_train_batch_size": 1}, "reason": "why"},
        {"time": at, "event": "resume", "step": 3, "checkpoint": None},
    ]
    assert history_lines(events) == [
        ("2026-11-22 05:06:07", "stop: level asked, signals 2 15"),
        ("2026-11-22 05:06:07", "running → failed: It broke."),
        ("2026-11-22 05:06:07", "memory lowered: changes per_device_train_batch_size 1, reason why"),
        ("2026-11-22 05:06:07", "resume: step 3"),
    ]
