"""`lfwrap train` and `lfwrap runs resume` from the check to the result, with a stand-in for the engine's part."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.files import write_json
from lfwrap.run.again import recovery
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.record import Run, RunState, change_state, list_runs, load_run, save_record
from lfwrap.run.preflight import machine
from lfwrap.run.supervise import attempt

RECIPE = """\
model_name_or_path: nobody/tiny
stage: sft
do_train: true
finetuning_type: lora
dataset: d
dataset_dir: data
template: qwen
use_cpu: true
"""
KEPT_OUT = "hf_do_not_keep_me"


@pytest.fixture
def folder(train_folder: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, a data set and an engine that is never started."""
    monkeypatch.setenv("HF_TOKEN", KEPT_OUT)
    return train_folder("law.yaml", RECIPE)


def end_with(monkeypatch: pytest.MonkeyPatch, state: RunState, **changes: Any) -> list[attempt.Attempt]:
    """The engine's part ends in this state; gives the attempts that were asked for."""
    asked: list[attempt.Attempt] = []

    def stand_in(run: Run, wanted: attempt.Attempt, _listener: Any, *, before_start: Any = None) -> Run:
        asked.append(wanted)
        if before_start is not None:
            before_start()
        running = change_state(run, RunState.RUNNING, supervisor=probe_process(), attempt=run.record.attempt + 1)
        logs = running.paths.attempt(running.record.attempt)
        logs.root.mkdir(parents=True)
        logs.stderr.write_text("loading\nRuntimeError: it broke here\n", encoding="utf-8")
        logs.stdout.write_text("", encoding="utf-8")
        write_json(logs.exit, {"diagnosis": {"rule": "out-of-memory", "remedy": "Use a smaller batch."}})
        running.paths.output.mkdir(exist_ok=True)
        if state is RunState.SUCCEEDED:
            (running.paths.output / "adapter_model.safetensors").write_bytes(b"")
        defaults = {"global_step": 5, "max_steps": 5, "first_loss": 2.5, "last_loss": 0.5, "duration_s": 61.0}
        return change_state(running, state, **{**defaults, **changes})

    monkeypatch.setattr(recovery, "run_attempt", stand_in)
    return asked


def lfwrap(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def only_run(folder: Path) -> Run:
    [found] = list_runs(folder / "runs")
    return found


def test_success_gives_the_adapter_on_stdout_and_the_rest_on_stderr(folder, capsys, monkeypatch):
    end_with(monkeypatch, RunState.SUCCEEDED)
    code, out, err = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu")
    made = only_run(folder)
    assert code == 0
    assert out.strip() == str(made.paths.output)
    assert "trained 5 of 5 steps in 1 min 01 s, loss 2.5000 → 0.5000" in err
    assert f"lfwrap chat {made.paths.root}" in err
    assert f"run: {made.paths.root}" in err
    assert "batch: " in err


def test_a_run_folder_holds_all_that_it_started_from_and_no_secret(folder, capsys, monkeypatch):
    end_with(monkeypatch, RunState.SUCCEEDED)
    lfwrap(capsys, "train", "law.yaml", "lora_rank=16", "--hardware", "cpu", "--name", "my law")
    paths = only_run(folder).paths
    assert "my-law" in paths.name
    for file in (paths.record, paths.recipe, paths.engine_yaml, paths.environment, paths.inputs, paths.events):
        assert file.is_file(), file
    assert "lora_rank: 16" in paths.recipe.read_text(encoding="utf-8")
    inputs = json.loads(paths.inputs.read_bytes())
    assert set(inputs["files"]) == {"recipe", "engine_yaml", "dataset:d"}
    assert inputs["datasets"] == {"d": {"file_name": "d.jsonl"}}
    environment = json.loads(paths.environment.read_bytes())
    assert {"HF_TOKEN": "***"}.items() <= environment["variables"].items()
    assert environment["cwd"] == str(folder)
    for file in paths.root.rglob("*"):
        assert not file.is_file() or KEPT_OUT.encode() not in file.read_bytes(), file


def test_json_prints_the_run_as_one_object(folder, capsys, monkeypatch):
    end_with(monkeypatch, RunState.SUCCEEDED)
    code, out, _ = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["schema"] == "lfwrap.run/1"
    assert value["state"] == "succeeded"
    assert value["adapter_dir"] == value["output_dir"] == str(only_run(folder).paths.output)
    assert {"path", "base_model", "datasets", "effective_batch_size", "first_loss", "last_loss"} <= set(value)


def test_full_tuning_gives_the_output_folder(folder, capsys, monkeypatch):
    def nothing_left(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Run, "adapter_dir", property(nothing_left))
    end_with(monkeypatch, RunState.SUCCEEDED)
    _, out, _ = lfwrap(capsys, "train", "law.yaml", "finetuning_type=full", "--hardware", "cpu")
    assert out.strip() == str(only_run(folder).paths.output)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_shows_the_logs_tail_the_diagnosis_and_the_remedy(folder, capsys, monkeypatch, as_json):
    end_with(monkeypatch, RunState.FAILED, reason="The GPU's memory was full.", global_step=3)
    code, out, err = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", *(["--json"] if as_json else []))
    assert code == 7
    assert "  | RuntimeError: it broke here" in err
    assert "failed at step 3 of 5: The GPU's memory was full. (out-of-memory)" in err
    assert "Use a smaller batch." in err
    assert "stderr.log" in err
    if as_json:
        error = json.loads(out)["error"]
        assert (error["kind"], error["exit_code"]) == ("EngineError", 7)
    else:
        assert out == ""


def test_a_failure_without_a_diagnosis_is_unknown_not_a_crash(folder, capsys, monkeypatch):
    end_with(monkeypatch, RunState.FAILED, reason="It ended with code 1.", global_step=0, max_steps=0)
    code, _, err = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu")
    made = only_run(folder)
    assert code == 7
    assert "failed: It ended with code 1." in err
    from lfwrap.cli.view.following import failure

    made.paths.attempt(0).exit.unlink()
    assert "(unknown)" in failure(made).message


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("Stopped by SIGINT at step 2.", 130), ("Stopped by SIGTERM at step 2.", 143)],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_run_says_how_to_go_on(folder, capsys, monkeypatch, *, reason, expected, as_json):
    end_with(monkeypatch, RunState.INTERRUPTED, reason=reason, global_step=2)
    code, out, err = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", *(["--json"] if as_json else []))
    assert code == expected
    assert reason in err
    assert f"lfwrap runs resume {only_run(folder).paths.root}" in err
    assert (json.loads(out)["state"] if as_json else out) == ("interrupted" if as_json else "")


def test_verbose_says_where_values_come_from_and_quiet_says_nothing_before(folder, capsys, monkeypatch):
    end_with(monkeypatch, RunState.SUCCEEDED)
    _, _, verbose = lfwrap(capsys, "train", "law.yaml", "lora_rank=4", "--hardware", "cpu", "-v", "--name", "loud")
    _, _, quiet = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", "-q", "--name", "still")
    assert "  lora_rank: 4  (command line" in verbose
    assert "  template: qwen  (recipe" in verbose
    assert "$ " in verbose
    assert "worker train_engine" in verbose
    assert "batch:" not in quiet
    assert "run:" not in quiet
    assert "trained 5 of 5 steps" in quiet


def test_show_example_reaches_the_attempt(folder, capsys, monkeypatch):
    asked = end_with(monkeypatch, RunState.SUCCEEDED)
    lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu")
    lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", "--show-example")
    assert [wanted.show_example for wanted in asked] == [False, True]


def test_without_an_engine_nothing_is_made_and_the_way_to_one_is_said(folder, capsys, monkeypatch, use_engine):
    use_engine(None)
    monkeypatch.setenv("LFWRAP_ENGINE_PYTHON", str(folder / "nowhere/python"))
    code, out, err = lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu")
    assert code == 6
    assert out == ""
    assert "LFWRAP_ENGINE_PYTHON" in err
    assert not (folder / "runs").exists()


WITH_DEEPSPEED = ("train", "recipes/paper.yaml", "--dry-run", "-v", "--hardware", "4x-h100-80gb", "lfwrap.zero_stage=2")


def test_a_package_that_the_recipe_needs_is_named_with_its_pip_line(folder, capsys):
    code, out, err = lfwrap(capsys, *WITH_DEEPSPEED)
    assert (code, out) == (6, "")
    assert "deepspeed: needs the package deepspeed, which is not installed." in err
    assert "-m pip install 'lfwrap[deepspeed]'" in err


def test_a_dry_run_shows_deepspeeds_file_and_each_value(folder, capsys, monkeypatch):
    monkeypatch.setattr(machine, "package_version", lambda *_: "1.0")
    code, out, err = lfwrap(capsys, *WITH_DEEPSPEED)
    assert code == 0
    assert '"stage": 2' in out
    assert re.search(r"^# batch: \d+ × \d+ × 4 = 128 ", out, re.MULTILINE)
    assert f"# in {folder}" in out
    assert "lora_rank: 64" in out
    assert "bf16: True  (hardware" in err
    assert not (folder / "runs").exists()


def test_a_dry_run_of_a_broken_recipe_is_an_error(folder, capsys):
    code, out, err = lfwrap(capsys, "train", "law.yaml", "lora_rnak=1", "--dry-run")
    assert code == 3
    assert out == ""
    assert "lora_rank" in err


@pytest.fixture
def stopped(folder, capsys, monkeypatch) -> Run:
    """A run that was interrupted at step 2 and left a checkpoint there."""
    end_with(monkeypatch, RunState.INTERRUPTED, reason="Stopped by SIGTERM.", global_step=2)
    lfwrap(capsys, "train", "law.yaml", "--hardware", "cpu", "--name", "law")
    return only_run(folder)


def write_checkpoint(made: Run, step: int, *, broken: bool = False) -> None:
    place = made.paths.output / f"checkpoint-{step}"
    place.mkdir()
    header = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    (place / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (place / "trainer_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(place / name, "w") as archive:
            archive.writestr("data", b"")
    if broken:
        (place / "optimizer.pt").write_bytes(b"half of it")


def test_resume_shows_the_checkpoint_and_the_command_and_starts_nothing(stopped, capsys, monkeypatch):
    asked = end_with(monkeypatch, RunState.SUCCEEDED)
    write_checkpoint(stopped, 1)
    write_checkpoint(stopped, 2, broken=True)
    code, out, err = lfwrap(capsys, "runs", "resume", "latest", "--dry-run")
    assert code == 0
    assert "warning: checkpoint-2 is not whole and is left out: optimizer.pt is cut off." in err
    assert "going on from checkpoint-1" in err
    assert "resume_from_checkpoint=" in out
    assert "checkpoint-1" in out
    assert asked == []
    assert load_run(stopped.paths.root) == stopped
    plan = json.loads(lfwrap(capsys, "runs", "resume", "latest", "--dry-run", "--json")[1])
    assert plan["schema"] == "lfwrap.resume-plan/1"
    assert plan["checkpoint"] == str(stopped.paths.output / "checkpoint-1")
    assert plan["broken"] == [
        {"path": str(stopped.paths.output / "checkpoint-2"), "problems": ["optimizer.pt is cut off"]}
    ]
    assert plan["command"]["quoted"] in out


def test_resume_goes_on_and_sets_the_broken_checkpoint_aside(stopped, capsys, monkeypatch):
    asked = end_with(monkeypatch, RunState.SUCCEEDED)
    write_checkpoint(stopped, 1)
    write_checkpoint(stopped, 2, broken=True)
    code, out, _ = lfwrap(capsys, "runs", "resume", stopped.paths.name, "--json")
    assert code == 0
    assert (json.loads(out)["state"], json.loads(out)["attempt"]) == ("succeeded", 1)
    assert len(asked) == 1
    assert [path.name for path in stopped.paths.checkpoints()] == ["checkpoint-1"]
    events = [json.loads(line) for line in stopped.paths.events.read_text(encoding="utf-8").splitlines()]
    assert {"checkpoint-set-aside", "resume"} <= {event["event"] for event in events}


def test_resume_without_a_checkpoint_starts_again_and_says_so(stopped, capsys, monkeypatch):
    end_with(monkeypatch, RunState.SUCCEEDED)
    code, _, err = lfwrap(capsys, "runs", "resume", "latest")
    assert code == 0
    assert "starting again from step 0" in err


def test_resume_refuses_what_would_be_another_run(stopped, folder, capsys):
    (folder / "data/d.jsonl").write_text('{"instruction": "q", "input": "", "output": "b"}\n', encoding="utf-8")
    code, _, err = lfwrap(capsys, "runs", "resume", "latest", "--gpus", "2")
    assert code == 8
    assert "--gpus 2, but the run has 1" in err
    assert "dataset:d" in err


def test_resume_notes_versions_that_have_changed(stopped, capsys):
    save_record(stopped.paths, dataclasses.replace(stopped.record, versions={"torch": "1.0"}))
    _, _, err = lfwrap(capsys, "runs", "resume", "latest", "--dry-run")
    assert "note: torch was 1.0 and is absent now" in err
