"""A training that falls ill, with a stand-in for the engine: said at once, recorded, and stopped where asked."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lfwrap.engine.child_process import run_processes
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.run.folder.health import load_samples, load_warnings
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, load_run, prepare_record, utc_now
from lfwrap.run.launch.command import Command
from lfwrap.run.supervise.attempt import Attempt, Listener, run_attempt
from lfwrap.run.supervise.health import HealthWarning, OnDivergence
from lfwrap.run.supervise.supervisor import Patience, StopLevel

# Logs the losses it is given, as the engine does; with "ranks", the way of lfwrap's callback, with "printed" that of
# the plain engine. On SIGTERM it ends after its update and exits 0.
STAND_IN = """
    import json, os, signal, struct, sys, time
    from pathlib import Path
    output, way, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    entries = json.loads(sys.argv[4])
    output.mkdir(exist_ok=True)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    print("***** Running training *****", file=sys.stderr, flush=True)
    ranks = Path(os.environ["LFWRAP_ATTEMPT"]) / "ranks"
    if way == "ranks":
        for rank in range(2):
            (ranks / str(rank)).mkdir(parents=True)
    done = first
    with (output / "trainer_log.jsonl").open("a") as log:
        for loss, norm in entries:
            if asked:
                break
            done += 1
            if way == "ranks":
                for rank in range(2):
                    line = {"step": done, "rss_bytes": 1000, "memory_bytes": 10 * (rank + 1)}
                    if rank == 0:
                        line |= {"loss": loss, "grad_norm": norm, "learning_rate": 1e-3, "total_steps": 400}
                    with (ranks / str(rank) / "health.jsonl").open("a") as sink:
                        sink.write(json.dumps(line) + "\\n")
            if way == "printed":
                print({"loss": f"{float(loss):.4g}", "grad_norm": f"{float(norm):.4g}", "epoch": f"{done / 40:.4g}"},
                      flush=True)
            log.write(json.dumps({"current_steps": done, "total_steps": 400, "loss": float(loss), "lr": 1e-3,
                                  "epoch": done / 40}) + "\\n")
            log.flush()
            time.sleep(0.01 if done > 5 or first else 0.1)
    header = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    (output / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    whole = done if asked else 400
    (output / "trainer_state.json").write_text(json.dumps({"global_step": whole, "max_steps": 400}))
    time.sleep(0.2)
"""
QUICK = Patience(checkpoint_s=20, hurry_s=1, sweep_s=1, poll_s=0.02)
WELL = [[2.0 - 0.002 * step + 0.01 * (step % 3), 0.5] for step in range(100)]
NAN = [*WELL[:40], *[[0.0, "nan"]] * 200]
RISEN = [*WELL[:40], *[[9.0 + 0.1 * (step % 3), 7.0] for step in range(200)]]
WAYS = pytest.mark.parametrize("way", ["ranks", "printed"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    paths = create_run_folder(tmp_path, "r")
    return prepare_record(
        paths, RunRecord(paths.name, RunState.PREPARED, "r", utc_now(), "", "m", "lora", "sft", "qwen")
    )


def attempt_for(run: Run, way: str, entries: list[Any], *, first: int = 0, action: str = "warn") -> Attempt:
    arguments = (str(run.paths.output), way, str(first), json.dumps(entries))
    command = Command(
        (sys.executable, "-c", textwrap.dedent(STAND_IN), *arguments),
        run.paths.root,
        {RUN_VARIABLE: str(run.paths.root)},
    )
    values = {"do_train": True, "finetuning_type": "lora", "stage": "sft", "learning_rate": 1e-3}
    attempt = Attempt(command, values, dict(os.environ), patience=QUICK)
    return dataclasses.replace(attempt, on_divergence=OnDivergence(action))


def train(run: Run, attempt: Attempt) -> tuple[Run, list[HealthWarning], list[StopLevel]]:
    warnings: list[HealthWarning] = []
    levels: list[StopLevel] = []
    done = run_attempt(run, attempt, Listener(on_warning=warnings.append, on_stop=levels.append))
    assert run_processes(str(run.paths.root)) == []
    return done, warnings, levels


@WAYS
@pytest.mark.parametrize(
    ("entries", "rule", "at"), [(NAN, "loss-not-finite", 41), (RISEN, "loss-spike", 60)], ids=["nan", "risen"]
)
def test_an_illness_is_said_once_and_the_training_goes_on(run, way, entries, rule, at):
    done, warnings, levels = train(run, attempt_for(run, way, entries))
    assert [(each.rule, each.step) for each in warnings] == [(rule, at)]
    assert (done.record.state, levels) == (RunState.SUCCEEDED, [])
    (kept,) = load_warnings(run.paths)
    assert (kept["rule"], kept["step"]) == (rule, at)
    assert done.to_json()["warnings"] == [kept]
    assert json.loads(run.paths.attempt(0).exit.read_bytes())["warnings"] == [kept]


@WAYS
@pytest.mark.parametrize(("entries", "rule"), [(NAN, "loss-not-finite"), (RISEN, "loss-spike")], ids=["nan", "risen"])
def test_stop_ends_it_as_a_signal_does_and_names_the_rule(run, way, entries, rule):
    done, warnings, levels = train(run, attempt_for(run, way, entries, action="stop"))
    assert [each.rule for each in warnings] == [rule]
    assert levels == [StopLevel.ASKED]
    assert done.record.state is RunState.FAILED
    assert warnings[0].message == done.record.reason
    assert warnings[0].step <= done.record.global_step < 240
    diagnosis = json.loads(run.paths.attempt(0).exit.read_bytes())["diagnosis"]
    assert (diagnosis["rule"], diagnosis["remedy"]) == (rule, warnings[0].remedy)
    assert load_run(run.paths.root).record.state is RunState.FAILED


@WAYS
def test_a_healthy_training_says_nothing_and_is_recorded(run, way):
    done, warnings, levels = train(run, attempt_for(run, way, WELL, action="stop"))
    assert (done.record.state, warnings, levels) == (RunState.SUCCEEDED, [], [])
    samples = load_samples(run.paths.health)
    assert [each.step for each in samples] == list(range(1, 101))
    assert {each.grad_norm for each in samples} == {0.5}
    assert {each.learning_rate for each in samples} == {1e-3}
    assert samples[-1].spread == pytest.approx(0.01, rel=0.9)
    if way == "ranks":
        assert (samples[-1].memory_bytes, samples[-1].rss_bytes) == (20, 2000)


def test_a_resumed_training_goes_back_in_its_record(run):
    first, _, _ = train(run, attempt_for(run, "ranks", RISEN, action="stop"))
    again = [*WELL[30:], *WELL]
    done, warnings, _ = train(first, attempt_for(first, "ranks", again, first=30, action="stop"))
    assert (done.record.state, warnings) == (RunState.SUCCEEDED, [])
    samples = load_samples(run.paths.health)
    assert [each.step for each in samples] == list(range(1, 201))
    assert max(each.loss or 0 for each in samples) < 3


def test_a_full_disk_or_an_unwritable_record_does_not_end_the_training(run):
    run.paths.health.mkdir()
    done, warnings, _ = train(run, attempt_for(run, "ranks", NAN))
    assert (done.record.state, [each.rule for each in warnings]) == (RunState.SUCCEEDED, ["loss-not-finite"])


def test_a_training_that_logs_nothing_is_no_ill_one(run):
    done, warnings, _ = train(run, attempt_for(run, "none", [], action="stop"))
    assert (done.record.state, warnings, run.paths.health.exists()) == (RunState.SUCCEEDED, [], False)
