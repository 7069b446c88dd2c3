"""`lfwrap train` after an out-of-memory error: what is tried, what is kept, when it gives up; no real engine."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.files import write_json
from lfwrap.run.again import recovery
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.record import Run, RunState, change_state, list_runs
from lfwrap.run.supervise import attempt, background
from lfwrap.yaml_files import load_yaml

RECIPE = """\
model_name_or_path: nobody/tiny
stage: sft
do_train: true
finetuning_type: lora
dataset: d
dataset_dir: data
template: qwen
use_cpu: true
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
disable_gradient_checkpointing: true
"""
OOM = ("cpu-out-of-memory", "training")


@pytest.fixture
def folder(train_folder: Callable[[str, str], Path]) -> Path:
    """A recipe, a data set and an engine that is never started."""
    return train_folder("law.yaml", RECIPE)


@pytest.fixture
def endings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[attempt.Attempt]]:
    """Let the attempts end in turn as (rule, phase), or well with None; gives the attempts that were asked for."""

    def arrange(*ends: tuple[str, str] | None, checkpoint: int = 0) -> list[attempt.Attempt]:
        asked: list[attempt.Attempt] = []

        def stand_in(run: Run, wanted: attempt.Attempt, _listener: Any, *, before_start: Any = None) -> Run:
            if before_start is not None:
                before_start()
            end = ends[len(asked)]
            asked.append(wanted)
            running = change_state(run, RunState.RUNNING, supervisor=probe_process(), attempt=run.record.attempt + 1)
            logs = running.paths.attempt(running.record.attempt)
            logs.root.mkdir(parents=True)
            running.paths.output.mkdir(exist_ok=True)
            if checkpoint:
                write_checkpoint(running.paths.output / f"checkpoint-{checkpoint}", checkpoint)
            if end is None:
                return change_state(running, RunState.SUCCEEDED, global_step=5, max_steps=5)
            rule, phase = end
            write_json(logs.exit, {"phase": phase, "diagnosis": {"rule": rule, "remedy": "Lower cutoff_len."}})
            return change_state(running, RunState.FAILED, reason="No room.")

        monkeypatch.setattr(recovery, "run_attempt", stand_in)
        return asked

    return arrange


def write_checkpoint(path: Path, step: int) -> None:
    path.mkdir(exist_ok=True)
    header = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    (path / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(path / name, "w") as file:
            file.writestr("archive/data.pkl", b"")


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["train", "law.yaml", "--hardware", "cpu", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def only_run(folder: Path) -> Run:
    [found] = list_runs(folder / "runs")
    return found


def test_two_rungs_lead_to_a_batch_that_fits_and_it_is_pinned(folder, capsys, endings):
    asked = endings(OOM, OOM, None)
    code, _, err = train(capsys)
    assert code == 0
    assert err.count("out of memory: ") == 2
    made = only_run(folder)
    record = made.record
    assert (record.micro_batch_size, record.gradient_accumulation_steps, record.effective_batch_size) == (1, 8, 8)
    assert len(asked) == record.attempt + 1 == 3
    sizes = [
        load_yaml(made.paths.attempt(number).engine_yaml).values["per_device_train_batch_size"] for number in (0, 1)
    ]
    assert sizes == [4, 2]
    assert load_yaml(made.paths.engine_yaml).values["per_device_train_batch_size"] == 1
    assert load_yaml(made.paths.recipe).values["per_device_train_batch_size"] == 4


def test_a_resume_of_a_lowered_run_is_the_same_run(folder, capsys, endings):
    endings(OOM, ("unknown", "training"))
    assert train(capsys)[0] == 7
    asked = endings(None)
    assert run(["runs", "resume", "latest"]) == 0
    assert len(asked) == 1
    assert only_run(folder).record.micro_batch_size == 2


def test_the_next_attempt_goes_on_from_the_newest_checkpoint_with_the_same_options(folder, capsys, endings):
    asked = endings(OOM, None, checkpoint=3)
    assert train(capsys, "--on-stall", "stop", "--stall-minutes", "3", "--no-probe")[0] == 0
    assert any("checkpoint-3" in part for part in asked[1].command.argv)
    assert (asked[1].stall, asked[1].probe) == (asked[0].stall, False)
    assert asked[1].stall.limit_s == 180


def test_at_the_end_of_the_ladder_the_failure_is_told(folder, capsys, endings):
    asked = endings(*[OOM] * 4)
    code, _, err = train(capsys)
    assert code == 7
    assert len(asked) == 4
    assert "gradient checkpointing switched on" in err
    assert "Lower cutoff_len." in err
    assert load_yaml(only_run(folder).paths.engine_yaml).values["disable_gradient_checkpointing"] is False


@pytest.mark.parametrize(
    ("end", "options"),
    [
        (OOM, ("--on-oom", "fail")),
        (("cpu-out-of-memory", "loading the model"), ()),
        (("gpu-out-of-memory", "training"), ()),
        (("disk-full", "training"), ()),
    ],
    ids=["not wished", "the model itself does not fit", "of another device", "another fault"],
)
def test_nothing_is_tried_where_a_smaller_batch_would_not_help(folder, capsys, endings, end, options):
    asked = endings(end)
    assert train(capsys, *options)[0] == 7
    assert len(asked) == 1
    assert only_run(folder).record.micro_batch_size == 4


def test_detach_hands_the_run_and_its_options_to_a_process_of_its_own(folder, capsys, endings, monkeypatch):
    asked = endings()
    started: list[tuple[Run, list[str]]] = []

    def start(run: Run, arguments: list[str], **_: Any) -> Run:
        started.append((run, arguments))
        return run

    monkeypatch.setattr(background, "start_detached", start)
    code, out, err = train(capsys, "--detach", "--on-oom", "fail", "--on-divergence", "stop", "--show-example")
    [(made, arguments)] = started
    assert (code, asked) == (0, [])
    assert out.strip() == str(made.paths.root)
    assert f"lfwrap runs watch {made.paths.root}" in err
    supervision = ["--stall-minutes=10.0", "--on-stall=warn", "--on-divergence=stop", "--on-oom=fail"]
    assert arguments == ["--show-example", *supervision, "--quiet"]


def test_a_resume_in_the_background_is_told_all_that_was_asked_for(folder, monkeypatch):
    started: list[list[str]] = []

    def start(run: Run, arguments: list[str], **_: Any) -> Run:
        started.append(arguments)
        return run

    monkeypatch.setattr(background, "start_detached", start)
    assert run(["train", "law.yaml", "--hardware", "cpu", "--detach"]) == 0
    asked = ["--launcher", "torchrun", "--master-port", "29501", "--take-over", "--no-probe"]
    assert run(["runs", "resume", str(only_run(folder).paths.root), "--detach", *asked]) == 0
    supervision = ["--stall-minutes=10.0", "--on-stall=warn", "--on-divergence=warn", "--on-oom=lower", "--no-probe"]
    assert started[1] == ["--launcher=torchrun", "--master-port=29501", "--take-over", *supervision, "--quiet"]
