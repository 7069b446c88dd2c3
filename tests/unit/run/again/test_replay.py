"""What differs when a run is done again, and how its losses compare."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_engine import fake_engine

from lfwrap.errors import RunStateError
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.invocation import Invocation
from lfwrap.run.again import replay
from lfwrap.run.again.replay import plan_replay, require_no_differences
from lfwrap.run.folder.history import compare_losses
from lfwrap.run.folder.monitor import Progress
from lfwrap.run.folder.paths import RunPaths, create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, prepare_record, utc_now
from lfwrap.run.launch.command import Command
from lfwrap.run.prepare import environment
from lfwrap.run.prepare.environment import describe_environment
from lfwrap.run.prepare.start import describe_inputs

CPU = HardwareProfile("auto", DeviceKind.CPU, cpu_cores=2)
VALUES = {"do_train": True, "dataset": "d", "learning_rate": 0.001, "hf_hub_token": "geheim"}


def entries(*losses: float, first: int = 1) -> list[Progress]:
    return [Progress(step, 9, loss) for step, loss in enumerate(losses, first)]


@pytest.mark.parametrize(
    ("before", "now", "expected", "words"),
    [
        (entries(2.0, 1.0), entries(2.0, 1.0), (2, 0, 0.0, None), "the same in all 2 steps (difference 0.0)"),
        (entries(2.0, 1.0, 0.5), entries(2.0, 1.25, 0.5), (3, 0, 0.25, 2), "differ from step 2 on, by 0.25 at most"),
        (entries(2.0, 1.0), entries(2.0), (1, 1, 0.0, None), "1 step stands in only one"),
        (entries(2.0), entries(1.0, first=5), (0, 2, 0.0, None), "none to compare"),
        ([], [], (0, 0, 0.0, None), "none to compare"),
    ],
)
def test_losses_are_compared_step_by_step(before, now, expected, words):
    found = compare_losses(before, now)
    assert (found.steps, found.missing, found.largest, found.first_step) == expected
    assert words in str(found)
    assert found.is_same is ("same in all" in str(found) and not found.missing)


def test_a_loss_that_became_nan_is_no_equal_loss():
    assert compare_losses(entries(1.0, 1.0), entries(1.0, math.nan)).first_step == 2


class Setting:
    """A finished run, and what would be started now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = fake_engine(folder)
        self.hardware = CPU
        self.values: dict[str, Any] = dict(VALUES)
        self.deepspeed: dict[str, Any] | None = None
        self.environ = {"CUDA_VISIBLE_DEVICES": "0"}

    def preview(self, *_: Any) -> SimpleNamespace:
        paths = RunPaths(self.folder / "runs/two")
        own = {"LFWRAP_RUN": "/elsewhere", "WANDB_RUN_ID": "two", "WANDB_DIR": f"{paths.root}/trackers"}
        command = Command(("python",), self.folder, own)
        rendered = SimpleNamespace(engine={**self.values, "output_dir": "/new"}, deepspeed=self.deepspeed)
        given = {"engine": self.engine, "hardware": self.hardware, "paths": paths}
        return SimpleNamespace(**given, command=command, rendered=rendered)

    def plan(self, run: Run):
        return plan_replay(run, self.folder / "runs", Invocation(self.folder, self.environ))

    def differences(self, run: Run) -> list[str]:
        return [str(difference) for difference in self.plan(run).differences]


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions that are installed now; to be changed by a test."""
    found = {"torch": "2.9.1", "peft": "0.18.1"}
    monkeypatch.setattr(environment, "installed_versions", lambda _: dict(found))
    return found


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> Setting:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/d.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "data/dataset_info.json").write_text('{"d": {"file_name": "d.jsonl"}}', encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = Setting(tmp_path)
    found.values |= {"dataset_dir": str(tmp_path / "data"), "model_name_or_path": str(tmp_path / "model")}
    monkeypatch.setattr(replay, "preview_job", found.preview)
    monkeypatch.setattr(replay, "load_hardware", lambda _: CPU)
    return found


@pytest.fixture
def run(setting: Setting) -> Run:
    paths = create_run_folder(setting.folder / "runs", "one")
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in {**setting.values, "output_dir": "/old"}.items()]
    paths.engine_yaml.write_text("".join(lines), encoding="utf-8")
    paths.recipe.write_text("".join(lines), encoding="utf-8")
    own = {"LFWRAP_RUN": str(paths.root), "WANDB_RUN_ID": "one", "WANDB_DIR": f"{paths.root}/trackers"}
    variables = {**setting.environ, **own}
    described = describe_environment(setting.engine, setting.hardware, variables, setting.folder)
    paths.environment.write_text(json.dumps(described), encoding="utf-8")
    inputs = describe_inputs(paths, setting.values, setting.folder)
    paths.inputs.write_text(json.dumps(inputs), encoding="utf-8")
    record = RunRecord("one", RunState.SUCCEEDED, "r", utc_now(), "", "m", "lora", "sft", "qwen")
    return prepare_record(paths, record)


def test_the_same_again(setting: Setting, run: Run) -> None:
    plan = setting.plan(run)
    assert plan.differences == ()
    require_no_differences(plan)
    assert (plan.request.recipe, plan.request.name, plan.request.gpus) == (str(run.paths.recipe), "r", 1)


def test_an_empty_variable_is_told_from_an_absent_one(setting: Setting, run: Run) -> None:
    setting.environ = {"CUDA_VISIBLE_DEVICES": ""}
    assert setting.differences(run) == ["variable CUDA_VISIBLE_DEVICES: was 0, is empty"]


@pytest.mark.parametrize(("name", "asked"), [("cpu", "cpu"), ("auto", "auto"), (None, "auto")])
def test_a_run_that_was_asked_onto_the_cpu_is_so_again(
    setting: Setting, run: Run, name: str | None, asked: str
) -> None:
    recorded = json.loads(run.paths.environment.read_bytes())
    recorded["hardware"] |= {"name": name} if name else {}
    if name is None:
        del recorded["hardware"]["name"]
    run.paths.environment.write_text(json.dumps(recorded), encoding="utf-8")
    cpu = Run(run.paths, dataclasses.replace(run.record, device="cpu"))
    assert setting.plan(cpu).request.hardware == asked


def test_every_kind_of_difference_is_named(setting: Setting, run: Run, versions: dict[str, str]) -> None:
    versions |= {"torch": "2.10.0", "bitsandbytes": "0.50.2"}
    (setting.folder / "lib/python3.11/site-packages/numpy-2.3.0.dist-info").mkdir(parents=True)
    setting.hardware = dataclasses.replace(CPU, driver="570.1")
    setting.environ |= {"CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "verysecret"}
    setting.values |= {"learning_rate": 0.002, "hf_hub_token": "other"}
    setting.deepspeed = {"zero": {"stage": 2}}
    (setting.folder / "data/d.jsonl").write_text("{} \n", encoding="utf-8")
    (setting.folder / "model/config.json").unlink()
    (setting.folder / "data/dataset_info.json").write_text('{"d": {"file_name": "d.jsonl", "x": 1}}', encoding="utf-8")
    found = setting.differences(run)
    data, model = setting.folder / "data/d.jsonl", setting.folder / "model/config.json"
    for line in (
        "version torch: was 2.9.1, is 2.10.0",
        "version bitsandbytes: was absent, is 0.50.2",
        "version of other packages: was numpy absent, is numpy 2.3.0",
        "hardware driver: was absent, is 570.1",
        "variable CUDA_VISIBLE_DEVICES: was 0, is 1",
        "variable HF_TOKEN: was absent, is ***",
        f"data dataset:d: was as recorded, is {data} has changed",
        f"model model:config.json: was as recorded, is {model} is gone",
        "setting learning_rate: was 0.001, is 0.002",
        "setting hf_hub_token: was ***, is ***",
        "setting deepspeed.zero.stage: was absent, is 2",
    ):
        assert line in found
    assert any(line.startswith("data dataset_info.json") for line in found)
    assert len(found) == 12
    with pytest.raises(RunStateError, match=r"torch: was 2\.9\.1, is 2\.10\.0"):
        require_no_differences(setting.plan(run))


def test_gpus_that_are_not_there_are_not_asked_for(setting: Setting, run: Run) -> None:
    on_gpus = Run(run.paths, dataclasses.replace(run.record, device="cuda", world_size=4, launcher="torchrun"))
    assert setting.plan(on_gpus).request.gpus is None


def test_a_run_of_several_machines_is_started_on_each(setting: Setting, run: Run) -> None:
    with pytest.raises(RunStateError, match="2 machines") as caught:
        setting.plan(Run(run.paths, dataclasses.replace(run.record, nodes=2)))
    assert "--nnodes 2" in caught.value.hint


def test_a_folder_without_its_record_says_so(setting: Setting, run: Run) -> None:
    run.paths.environment.unlink()
    with pytest.raises(RunStateError, match="does not say how it was made"):
        setting.plan(run)
