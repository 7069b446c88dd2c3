"""A run done again, gone on with, and trained on from, by the real engine: the losses say whether it is the same."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.run.folder.monitor import load_history
from lfwrap.run.folder.record import Run, RunState, load_run, save_record

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

RECIPE = """\
model_name_or_path: {model}
finetuning_type: lora
lora_rank: 8
lora_dropout: 0.1
lora_target: all
template: qwen
dataset: tiny
dataset_dir: {data}
cutoff_len: 64
learning_rate: 1.0e-3
max_steps: 4
save_steps: 2
use_cpu: true
torch_compile: true
lfwrap:
  effective_batch_size: 2
"""


COMPILED = "lfwrap: 4 layers are compiled in the first update"


def lfwrap(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lfwrap", *map(str, arguments)]
    environ = os.environ | {"TORCH_COMPILE_DISABLE": "1"}  # layers go to a compiler that leaves them as they are
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environ, check=False, timeout=180)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_rows: str) -> Path:
    """A folder with a recipe, data, and one finished run."""
    folder = tmp_path_factory.mktemp("again")
    (folder / "data").mkdir()
    (folder / "data/tiny.jsonl").write_text(tiny_rows, encoding="utf-8")
    entry = {"file_name": "tiny.jsonl", "columns": {"prompt": "instruction", "query": "input", "response": "output"}}
    (folder / "data/dataset_info.json").write_text(json.dumps({"tiny": entry}), encoding="utf-8")
    recipe = RECIPE.format(model=tiny_model, data=folder / "data")
    (folder / "r.yaml").write_text(recipe, encoding="utf-8")
    done = lfwrap("train", "r.yaml", "-q", "--name", "first", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def losses(run: Run) -> list[tuple[int, float | None]]:
    return [(entry.step, entry.loss) for entry in load_history(run.paths.trainer_log)]


def test_a_replay_has_the_same_losses(place: Path) -> None:
    first = load_run("first", place / "runs")
    done = lfwrap("runs", "replay", "first", "--strict", "--json", "-q", cwd=place)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert (value["schema"], value["differences"]) == ("lfwrap.replay/1", [])
    assert value["losses"] == {
        "steps": 4,
        "missing": 0,
        "largest_difference": 0.0,
        "first_differing_step": None,
        "is_same": True,
    }
    again = load_run(value["path"])
    assert again.record.replay_of == str(first.paths.root)
    assert losses(again) == losses(first)
    assert all(COMPILED in run.paths.attempt(0).stdout.read_text(encoding="utf-8") for run in (first, again))


def test_a_new_run_trains_on_from_an_adapter(place: Path) -> None:
    first = load_run("first", place / "runs")
    done = lfwrap("train", "max_steps=1", "--continue-from-adapter", "first", "--json", "-q", cwd=place)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    run = load_run(value["path"])
    assert run.paths.root != first.paths.root
    inputs = json.loads(run.paths.inputs.read_bytes())["files"]
    assert inputs["adapter:adapter_model.safetensors"]["path"] == str(first.paths.output / "adapter_model.safetensors")
    # The untrained adapter's first loss is the first run's; the trained one's is lower.
    assert value["first_loss"] < first.record.first_loss
    log = run.paths.attempt(0).stdout.read_text(encoding="utf-8")
    assert f"Loaded adapter(s): {first.paths.output}" in log


def interrupt(run: Run) -> None:
    """Leave the run as a stop after step 2 would have left it."""
    shutil.rmtree(run.paths.output / "checkpoint-4")
    (run.paths.output / "adapter_model.safetensors").unlink()
    (run.paths.output / "trainer_state.json").unlink()
    kept = run.paths.trainer_log.read_text(encoding="utf-8").splitlines(keepends=True)[:2]
    run.paths.trainer_log.write_text("".join(kept), encoding="utf-8")
    save_record(run.paths, dataclasses.replace(run.record, state=RunState.INTERRUPTED, global_step=2))


def test_train_resume_goes_on_and_refuses_another_run(place: Path) -> None:
    # The last test: it changes the run that the others read.
    run = load_run("first", place / "runs")
    through = losses(run)
    interrupt(run)

    refused = lfwrap("train", "r.yaml", "learning_rate=2e-3", "--resume", "first", "--gpus", "2", cwd=place)
    assert refused.returncode == 8
    assert "learning_rate: it was 0.001 and is 0.002" in refused.stderr
    assert "--continue-from-adapter" in refused.stderr
    refused = lfwrap("train", "--resume", "first", "--gpus", "2", cwd=place)
    assert refused.returncode == 8
    assert "--gpus 2, but the run has 1 process" in refused.stderr

    done = lfwrap("train", "r.yaml", "--resume", "first", "-q", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "going on from checkpoint-2" in done.stderr
    resumed = load_run("first", place / "runs")
    assert resumed.record.state is RunState.SUCCEEDED
    assert losses(resumed) == through
    assert len(resumed.paths.attempt_numbers()) == 2
    assert COMPILED in resumed.paths.attempt(1).stdout.read_text(encoding="utf-8")
