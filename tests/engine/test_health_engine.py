"""A training says how it fares, on the real engine: recorded when it is well, named at once when it is ill."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lfwrap.run.folder.checkpoints import spoilt_from
from lfwrap.run.folder.health import load_samples, load_warnings
from lfwrap.run.folder.record import Run, RunState, load_run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

RECIPE = """\
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: tiny
template: qwen
cutoff_len: 192
per_device_train_batch_size: 2
gradient_accumulation_steps: 1
learning_rate: 1.0e-3
logging_steps: 1
use_cpu: true
seed: 7
max_steps: 24
save_strategy: "no"
"""

Train = Callable[..., tuple[int, str, Run]]


@pytest.fixture
def train(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Train:
    """train(*options, **values): a tiny training; its exit code, its stderr and its run."""

    def run(*options: str, **values: Any) -> tuple[int, str, Run]:
        own = {"model_name_or_path": tiny_model, "dataset_dir": tiny_data, **values}
        kept = [line for line in RECIPE.splitlines() if line.split(":")[0] not in own]
        path = tmp_path / "tiny.yaml"
        path.write_text("\n".join([*kept, *(f"{key}: {value}" for key, value in own.items())]) + "\n", "utf-8")
        command = [sys.executable, "-m", "lfwrap", "train", str(path), "--no-verdict", "--no-lock", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=280)
        return done.returncode, done.stderr, load_run("latest", tmp_path / "runs")

    return run


def rules_of(run: Run) -> list[str]:
    return [each["rule"] for each in load_warnings(run.paths)]


def repeat_one_row(folder: Path, times: int) -> None:
    first = (folder / "tiny.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[1]
    (folder / "tiny.jsonl").write_text(first * times, encoding="utf-8")


def test_a_healthy_training_is_recorded_and_nothing_is_said(train: Train) -> None:
    code, stderr, run = train("--on-divergence", "stop", max_steps=40)
    assert (code, rules_of(run)) == (0, []), stderr
    assert "warning: The" not in stderr
    samples = load_samples(run.paths.health)
    assert [each.step for each in samples] == list(range(1, 41))
    assert all(each.grad_norm and each.loss and each.rss_bytes and each.cpu_cores is not None for each in samples)
    assert samples[-1].total_steps == 40
    logged = [json.loads(line) for line in run.paths.trainer_log.read_text(encoding="utf-8").splitlines()]
    assert [each.loss for each in samples] == [
        pytest.approx(entry["loss"], rel=1e-5) for entry in logged if "loss" in entry
    ]


@pytest.mark.parametrize("options", [(), ("--engine-cli",)], ids=["lfwrap's start", "the plain engine"])
def test_a_learning_rate_without_measure_is_named_and_stopped_in_time(train: Train, options: tuple[str, ...]) -> None:
    code, stderr, run = train("--on-divergence", "stop", *options, learning_rate="1.0e+30", max_steps=400)
    assert (code, rules_of(run)) == (7, ["loss-not-finite"]), stderr
    assert "(loss-not-finite)" in stderr
    assert run.record.state is RunState.FAILED
    assert run.record.global_step < 100
    (checkpoint,) = run.paths.checkpoints()
    spoilt = spoilt_from(run.paths, 0)
    assert spoilt is not None
    assert spoilt <= int(checkpoint.name.removeprefix("checkpoint-"))
    assert any(each.grad_norm is not None and math.isnan(each.grad_norm) for each in load_samples(run.paths.health))


def test_a_learning_rate_1000_times_too_large_is_named(train: Train) -> None:
    code, stderr, run = train(learning_rate="2.0", max_steps=48)
    assert (code, run.record.state) == (0, RunState.SUCCEEDED), stderr
    assert set(rules_of(run)) & {"loss-not-finite", "loss-spike"}, stderr


def test_a_learning_rate_that_moves_nothing_is_named(train: Train) -> None:
    _, stderr, run = train(learning_rate="1.0e-12", max_steps=80)
    assert rules_of(run) == ["loss-stuck"], stderr


def test_one_row_repeated_is_named(train: Train, tiny_data: Path, smollm2: Path) -> None:
    """On real weights: a random model of this size takes hundreds of updates to know a row by heart."""
    repeat_one_row(tiny_data, 64)
    values = {"learning_rate": "2.0e-3", "lr_scheduler_type": "constant", "per_device_train_batch_size": 1}
    _, stderr, run = train(model_name_or_path=smollm2, template="smollm2", max_steps=12, **values)
    assert rules_of(run) == ["loss-near-zero"], stderr
    assert "copies" in load_warnings(run.paths)[0]["message"]
