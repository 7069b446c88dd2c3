"""A run goes on only as the very same run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.engine.locate import Engine
from lfwrap.errors import PreflightError, RunStateError
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.invocation import Invocation
from lfwrap.recipe.recipe import load_recipe
from lfwrap.run.again import resume
from lfwrap.run.again.resume import ResumeRequest, at_its_place, plan_resume, require_same_recipe
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, append_event, prepare_record, save_record, utc_now
from lfwrap.run.launch import build
from lfwrap.run.prepare.start import describe_inputs
from lfwrap.yaml_files import load_yaml
from tests.unit.run.folder.test_checkpoints import write_checkpoint

ENGINE = fake_engine()


@pytest.fixture
def invocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_engine: Callable[[Engine | None], None]
) -> Invocation:
    use_engine(ENGINE)
    monkeypatch.setattr(resume, "load_hardware", lambda _: HardwareProfile("auto", DeviceKind.CPU))
    monkeypatch.setattr(resume, "installed_versions", lambda _: {"torch": "2.9.1"})
    monkeypatch.setattr(build, "refused_versions", lambda _: [])
    return Invocation(tmp_path, {})


@pytest.fixture
def stopped(tmp_path: Path) -> Run:
    data = tmp_path / "data"
    data.mkdir()
    (data / "d.jsonl").write_text("{}\n", encoding="utf-8")
    (data / "dataset_info.json").write_text('{"d": {"file_name": "d.jsonl"}}', encoding="utf-8")
    paths = create_run_folder(tmp_path / "runs", "r")
    text = f"do_train: true\ndataset: d\ndataset_dir: {data}\nmodel_name_or_path: m\n"
    paths.engine_yaml.write_text(text, encoding="utf-8")
    paths.recipe.write_text(text, encoding="utf-8")
    inputs = describe_inputs(paths, load_yaml(paths.engine_yaml).values, tmp_path)
    paths.inputs.write_text(json.dumps(inputs), encoding="utf-8")
    record = RunRecord("r", RunState.INTERRUPTED, "r", utc_now(), "", "m", "lora", "sft", "qwen", attempt=0)
    return prepare_record(paths, dataclasses.replace(record, versions={"torch": "2.9.1"}))


def test_without_a_checkpoint_it_starts_again(stopped: Run, invocation: Invocation) -> None:
    stopped.paths.output.mkdir()
    (stopped.paths.output / "adapter_model.safetensors").write_bytes(b"x")
    plan = plan_resume(stopped, invocation)
    assert plan.checkpoint is None
    assert "resume_from_checkpoint" not in plan.attempt.command.quoted
    assert plan.notes == ()
    plan.clear()
    assert not stopped.paths.output.exists()
    assert (stopped.paths.root / "broken/before-attempt-1/output/adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("file", "words"),
    [("data/d.jsonl", "dataset:d:"), ("runs/r/engine.yaml", "engine_yaml:"), ("runs/r/recipe.yaml", "recipe:")],
)
def test_changed_files_are_named(stopped: Run, invocation: Invocation, tmp_path: Path, file: str, words: str) -> None:
    with (tmp_path / file).open("a", encoding="utf-8") as sink:
        sink.write("\n# more\n")
    with pytest.raises(RunStateError, match=words) as caught:
        plan_resume(stopped, invocation)
    assert "lfwrap train" in caught.value.hint


def test_all_differences_come_at_once(stopped: Run, invocation: Invocation, tmp_path: Path) -> None:
    (tmp_path / "data/d.jsonl").unlink()
    entry = '{"d": {"file_name": "d.jsonl", "columns": {"prompt": "q"}}}'
    (tmp_path / "data/dataset_info.json").write_text(entry, encoding="utf-8")
    with pytest.raises(RunStateError) as caught:
        plan_resume(stopped, invocation, ResumeRequest(gpus=4))
    message = caught.value.message
    assert "--gpus 4, but the run has 1" in message
    assert "is gone" in message
    assert "registered otherwise" in message


def test_other_versions_are_noted(stopped: Run, invocation: Invocation) -> None:
    older = dataclasses.replace(stopped.record, versions={"torch": "2.8.0", "peft": "0.17"})
    notes = plan_resume(Run(stopped.paths, older), invocation).notes
    assert notes[0].startswith("peft was 0.17 and is absent now")
    assert notes[1].startswith("torch was 2.8.0 and is 2.9.1 now")


def test_a_run_of_more_gpus_than_there_are_is_refused(stopped: Run, invocation: Invocation) -> None:
    trained = Run(stopped.paths, dataclasses.replace(stopped.record, device="cuda", world_size=2, launcher="torchrun"))
    with pytest.raises(PreflightError, match="trained on 2 GPUs, 0 can be seen"):
        plan_resume(trained, invocation)


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.RUNNING])
def test_only_stopped_runs_go_on(stopped: Run, invocation: Invocation, state: RunState) -> None:
    with pytest.raises(RunStateError, match=f"a {state} run"):
        plan_resume(Run(stopped.paths, dataclasses.replace(stopped.record, state=state)), invocation)


@pytest.fixture
def leftover(stopped: Run) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, RUN_VARIABLE: str(stopped.paths.root)}
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment)
    yield process
    process.kill()
    process.wait()


def test_a_run_whose_processes_still_live_is_not_started_twice(
    stopped: Run, invocation: Invocation, leftover: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(RunStateError, match=str(leftover.pid)):
        plan_resume(stopped, invocation)


def test_a_lost_run_is_put_on_record_as_lost_before_it_goes_on(stopped: Run, invocation: Invocation) -> None:
    lost = Run(stopped.paths, dataclasses.replace(stopped.record, state=RunState.LOST, reason="gone"))
    append_event(stopped.paths, "state", before="prepared", state="running")
    save_record(stopped.paths, dataclasses.replace(stopped.record, state=RunState.RUNNING))
    plan_resume(lost, invocation).clear()
    events = [json.loads(line) for line in stopped.paths.events.read_text(encoding="utf-8").splitlines()]
    assert [event.get("state") for event in events[-2:]] == ["lost", None]
    assert json.loads(stopped.paths.record.read_bytes())["state"] == "lost"


def test_a_recipe_given_to_a_resume_must_be_the_runs_own(stopped: Run, tmp_path: Path) -> None:
    same = load_recipe(stopped.paths.recipe, environ={})
    require_same_recipe(stopped, same)
    other = tmp_path / "other.yaml"
    other.write_text("do_train: true\ndataset: e\nmodel_name_or_path: m\nhf_hub_token: geheim\n", encoding="utf-8")
    with pytest.raises(RunStateError) as caught:
        require_same_recipe(stopped, load_recipe(other, environ={}))
    message = caught.value.message
    assert "dataset: it was d and is e" in message
    assert "dataset_dir: it was" in message
    assert "and is not set" in message
    assert "hf_hub_token: it was not set and is ***" in message
    assert "geheim" not in message


def test_the_way_on_with_a_changed_run_is_from_its_weights(
    stopped: Run, invocation: Invocation, tmp_path: Path
) -> None:
    (tmp_path / "data/d.jsonl").write_text("changed\n", encoding="utf-8")
    (stopped.paths.output / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(RunStateError) as caught:
        plan_resume(stopped, invocation)
    assert f"--continue-from-adapter {stopped.paths.root}" in caught.value.hint


def test_relative_paths_count_from_where_the_run_was_started(
    stopped: Run, invocation: Invocation, tmp_path: Path
) -> None:
    stopped.paths.environment.write_text(json.dumps({"cwd": str(tmp_path)}), encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    plan = plan_resume(stopped, dataclasses.replace(invocation, cwd=elsewhere))
    assert plan.attempt.command.cwd == tmp_path
    stopped.paths.environment.write_text(json.dumps({"cwd": str(tmp_path / "gone")}), encoding="utf-8")
    assert at_its_place(stopped, invocation) == invocation


def test_a_checkpoint_of_weights_that_are_no_numbers_is_left_out(stopped: Run, invocation: Invocation) -> None:
    """The engine saved it as it was told to stop; a resumed run goes on from the one before, and is told why."""
    for step in (4, 8, 12):
        write_checkpoint(stopped.paths.output, step)
    folder = stopped.paths.attempt(0)
    folder.root.mkdir(parents=True)
    ended = {"warnings": [{"rule": "loss-not-finite", "step": 7}], "diagnosis": {"rule": "loss-not-finite"}}
    folder.exit.write_text(json.dumps(ended), encoding="utf-8")
    plan = plan_resume(stopped, invocation)
    assert plan.checkpoint is not None
    assert plan.checkpoint.step == 4
    assert [one.step for one in plan.broken] == [12, 8]
    assert "from update 7 on" in plan.broken[0].problems[-1]
    assert "loss-not-finite" in plan.notes[0]
    plan.clear()
    assert [path.name for path in stopped.paths.checkpoints()] == ["checkpoint-4"]
