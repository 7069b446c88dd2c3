"""`lfwrap runs list, show, watch, stop` on runs in every state."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.run.folder.identity import ProcessIdentity, probe_process
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import (
    Run,
    RunRecord,
    RunState,
    append_event,
    change_state,
    load_run,
    prepare_record,
    utc_now,
)
from lfwrap.run.supervise import background
from lfwrap.run.supervise.health import HealthWarning


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(background, "_POLL_S", 0.01)
    return tmp_path


def make_run(folder: Path, name: str = "one", **changes: Any) -> Run:
    paths = create_run_folder(folder / "runs", name)
    record = RunRecord(paths.name, RunState.PREPARED, "r", utc_now(), "", "some/model", "lora", "sft", "qwen")
    return prepare_record(paths, dataclasses.replace(record, **changes))


def make_running(folder: Path, supervisor: ProcessIdentity | None = None, name: str = "one") -> Run:
    made = change_state(make_run(folder, name), RunState.RUNNING, supervisor=supervisor or probe_process(), attempt=0)
    made.paths.attempt(0).root.mkdir(parents=True)
    made.paths.output.mkdir()
    return made


def write_losses(made: Run, *losses: float, total: int = 8) -> None:
    lines = [{"current_steps": n, "total_steps": total, "loss": loss} for n, loss in enumerate(losses, 1)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with made.paths.trainer_log.open("a", encoding="utf-8") as sink:
        sink.write(text)


def runs(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["runs", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the marker of the run `one`, and ends on SIGTERM."""
    environment = {**os.environ, RUN_VARIABLE: str(folder / "runs/one")}
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    yield child
    child.kill()
    child.wait()


def test_an_empty_list_as_json_is_an_empty_list(folder, capsys):
    code, out, _ = runs(capsys, "list", "--json", "--runs-dir", "nowhere")
    assert (code, json.loads(out)) == (0, {"schema": "lfwrap.run-list/1", "runs": []})


def test_a_list_is_ordered_by_time_and_has_a_line_for_each_state(folder, capsys):
    make_run(folder, "late", created_at="2026-11-23T00:00:00.000Z")
    make_run(folder, "early", created_at="2026-11-21T00:00:00.000Z")
    failed = change_state(make_run(folder, "mid", created_at="2026-11-22T00:00:00.000Z"), RunState.RUNNING)
    change_state(failed, RunState.FAILED, reason="out of memory", global_step=3, max_steps=9, last_loss=1.25)
    _, out, _ = runs(capsys, "list")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:2] for row in rows] == [["early", "prepared"], ["mid", "failed"], ["late", "prepared"]]
    assert rows[1][2:] == ["3/9", "1.2500", "-", "some/model"]
    assert rows[0][2:] == ["-", "-", "-", "some/model"]


def test_a_lost_run_is_listed_with_the_steps_of_its_log(folder, capsys):
    gone = dataclasses.replace(probe_process(), boot="another")
    write_losses(make_running(folder, gone), 4.0, 2.0)
    _, out, _ = runs(capsys, "list")
    assert out.split()[:4] == ["one", "lost", "2/8", "2.0000"]
    value = json.loads(runs(capsys, "show", "one", "--json")[1])
    assert (value["state"], value["global_step"], value["first_loss"], value["last_loss"]) == ("lost", 2, 4.0, 2.0)
    assert value["reason"]


def test_show_names_everything_of_a_run(folder, capsys):
    made = make_run(
        folder, quantization_bit=4, datasets=("a", "b"), world_size=4, micro_batch_size=2, gradient_accumulation_steps=3
    )
    running = change_state(made, RunState.RUNNING, attempt=1)
    (made.paths.output / "checkpoint-3").mkdir(parents=True)
    (made.paths.output / "adapter_model.safetensors").write_bytes(b"")
    change_state(running, RunState.FAILED, reason="It broke.", duration_s=125.0, max_steps=0)
    rows = dict(line.split(":", 1) for line in runs(capsys, "show", "one")[1].splitlines())
    facts = {name: text.strip() for name, text in rows.items()}
    assert facts == {
        "run": str(made.paths.root),
        "state": "failed: It broke.",
        "model": "some/model",
        "method": "lora on 4 bit, sft, template qwen",
        "data": "a, b",
        "batch": "2 × 3 × 4 = 24",
        "launcher": "process, cpu",
        "steps": "0 of ?",
        "attempts": "2, 2 min 05 s",
        "checkpoints": "checkpoint-3",
        "result": str(made.paths.output),
    }


@pytest.mark.parametrize(
    ("losses", "curve"),
    [
        ((), None),
        ((1.0,), None),
        ((2.0, 1.0), "2.0000 █▁ 1.0000"),
        ((1.0, 1.0, 1.0), "1.0000 ▁▁▁ 1.0000"),
        ((0.0, 7.0, 0.0), "0.0000 ▁█▁ 0.0000"),
    ],
)
def test_the_curve_has_two_ends_or_is_not_drawn(folder, capsys, losses, curve):
    write_losses(make_running(folder), *losses)
    out = runs(capsys, "show", "one")[1]
    assert ("loss:" in out) is (curve is not None)
    assert curve is None or curve in out


def test_a_long_curve_is_no_wider_than_a_line(folder, capsys):
    write_losses(make_running(folder), *(float(n) for n in range(1000, 0, -1)), total=1000)
    [line] = [line for line in runs(capsys, "show", "one")[1].splitlines() if line.startswith("loss:")]
    assert "1000.0000 █" in line
    assert line.endswith("▁ 1.0000")
    assert len(line) < 100


def test_watch_of_a_finished_run_says_how_it_ended(folder, capsys):
    change_state(make_running(folder), RunState.FAILED, reason="It broke.")
    code, out, err = runs(capsys, "watch")
    assert (code, out) == (7, "")
    assert "one failed" in err
    assert "It broke." in err


def test_warnings_of_the_health_are_shown_watched_and_in_the_json(folder, capsys):
    made = make_running(folder)
    warnings = [HealthWarning("loss-spike", 7, "it rose"), HealthWarning("loss-not-finite", 9, "the loss is nan")]
    for warning in warnings:
        append_event(made.paths, "warning", **warning.to_json())
    append_event(made.paths, "warning", rule="of-a-later-lfwrap", step=10, message="Other.", remedy="Do.")
    out = runs(capsys, "show", "one")[1]
    assert [line.split(":", 1)[1].strip() for line in out.splitlines() if line.startswith("warning:")] == [
        *map(str, warnings), "Other. Do. (of-a-later-lfwrap)",
    ]  # fmt: skip
    value = json.loads(runs(capsys, "show", "one", "--json")[1])
    assert [each["rule"] for each in value["warnings"]] == ["loss-spike", "loss-not-finite", "of-a-later-lfwrap"]
    change_state(load_run(made.paths.root), RunState.FAILED, reason="It broke.")
    err = runs(capsys, "watch", "one")[2]
    assert err.count("(loss-spike)") == err.count("(loss-not-finite)") == 1


def test_watch_follows_until_the_end(folder, capsys, monkeypatch):
    made = make_running(folder)
    steps = iter(range(1, 9))

    def sleep(_seconds: float) -> None:
        """Stands for the training: a step each time, the end after the last."""
        step = next(steps, None)
        if step is None:  # it waits for a verdict that nobody makes
            return
        with made.paths.trainer_log.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps({"current_steps": step, "total_steps": 8, "loss": 9.0 - step}) + "\n")
        made.paths.attempt(0).stderr.write_text("***** Running training *****\n", encoding="utf-8")
        if step == 8:
            change_state(load_run(made.paths.root), RunState.SUCCEEDED)

    monkeypatch.setattr(time, "sleep", sleep)
    code, _, err = runs(capsys, "watch", "one")
    assert code == 0
    assert "training …" in err
    assert "step 8/8  loss 1.0000" in err
    assert err.rstrip().endswith("one: succeeded.")


def test_stop_asks_the_supervisor_with_a_sigterm(folder, capsys, process):
    made = make_running(folder, probe_process(process.pid))
    code, out, err = runs(capsys, "stop", "one", "--timeout", "10")
    assert process.wait(5) == -signal.SIGTERM
    assert code == 0
    assert "asked to stop" in err
    assert out.strip() == "one: lost"  # a supervisor that only dies records nothing
    assert load_run(made.paths.root).record.state is RunState.LOST


def test_stop_gives_up_after_its_timeout_and_names_the_way_on(folder, capsys, monkeypatch):
    make_running(folder)
    asked = []
    monkeypatch.setattr(background.os, "kill", lambda pid, number: asked.append((pid, number)))
    code, out, err = runs(capsys, "stop", "one", "--timeout", "0.05")
    assert asked == [(os.getpid(), signal.SIGTERM)]
    assert (code, out) == (8, "")
    assert "still runs after 0.05 s" in err
    assert "--kill" in err


def test_stop_with_kill_ends_every_process_of_the_run(folder, capsys, process):
    make_running(folder, dataclasses.replace(probe_process(), boot="another"))
    code, out, err = runs(capsys, "stop", "one", "--kill", "--timeout", "10")
    assert process.wait(5) == -signal.SIGKILL
    assert code == 0
    assert "killed 1 process\n" in err
    assert out.strip() == "one: lost"


def test_stop_of_a_lost_run_ends_what_is_left_of_it(folder, capsys, process):
    make_running(folder, dataclasses.replace(probe_process(), boot="another"))
    code, out, _ = runs(capsys, "stop", "one", "--timeout", "10", "--json")
    assert process.wait(5) == -signal.SIGTERM
    assert code == 0
    value = json.loads(out)
    assert (value["schema"], value["name"], value["state"]) == ("lfwrap.run/1", "one", "lost")


def test_a_run_of_another_machine_is_left_alone(folder, capsys):
    make_running(folder, dataclasses.replace(probe_process(), host="gpu-box"))
    code, _, err = runs(capsys, "stop", "one")
    assert code == 8
    assert "runs on gpu-box" in err
    assert "Stop it there" in err


@pytest.mark.parametrize("command", [("show",), ("watch",), ("stop",), ("resume",)])
def test_an_unknown_run_is_refused_alike_by_all(folder, capsys, command):
    make_run(folder, "one-law")
    make_run(folder, "two-law")
    for name, words in (("nothing", "no run of that name"), ("law", "several runs match this name: one-law, two-law")):
        code, out, err = runs(capsys, *command, name)
        assert (code, out) == (8, "")
        assert words in err


def test_latest_of_nothing(folder, capsys):
    code, _, err = runs(capsys, "watch")
    assert code == 8
    assert "lfwrap train RECIPE" in err


def test_a_record_that_cant_be_read_is_named_beside_the_others(folder, capsys):
    make_run(folder, "one")
    make_run(folder, "two").paths.record.write_text("{")
    code, out, err = runs(capsys, "list")
    assert code == 0
    assert "one" in out
    assert "two" not in out
    assert "warning:" in err
    assert "two/record.json: no readable record" in err


def test_a_file_is_no_folder_of_runs(folder, capsys):
    (folder / "file").touch()
    code, _, err = runs(capsys, "list", "--runs-dir", "file")
    assert code == 2
    assert "file: a file, expected the folder that holds runs" in err
