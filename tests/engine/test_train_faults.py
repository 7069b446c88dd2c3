"""Real faults on real engine runs: nothing is lost, no process is left, and a resumed run has the same curve."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from lfwrap.engine.child_process import run_processes, training_ranks
from lfwrap.run.folder.monitor import load_history
from lfwrap.run.folder.record import Run, RunState, load_run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

LFWRAP = (sys.executable, "-m", "lfwrap")
STEPS = 24
RECIPE = """\
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_dropout: 0.1
lora_target: all
dataset: tiny
template: qwen
cutoff_len: 128
per_device_train_batch_size: 1
gradient_accumulation_steps: 4
learning_rate: 1.0e-3
use_cpu: true
seed: 7
save_steps: 4
"""


def write_recipe(folder: Path, model: Path, data: Path, more: str = "") -> Path:
    path = folder / "tiny.yaml"
    own = f"max_steps: {STEPS}\nmodel_name_or_path: {model}\ndataset_dir: {data}\n"
    path.write_text(RECIPE + own + more, encoding="utf-8")
    return path


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Path:
    return write_recipe(tmp_path, tiny_model, tiny_data)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_rows: str) -> dict[int, float]:
    """The losses of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("through")
    data = folder / "data"
    write_tiny_data(data, tiny_rows)
    return losses(train(write_recipe(folder, tiny_model, data)))


def write_tiny_data(folder: Path, rows: str) -> None:
    folder.mkdir()
    (folder / "tiny.jsonl").write_text(rows, encoding="utf-8")
    entry = '{"tiny": {"file_name": "tiny.jsonl"}}'
    (folder / "dataset_info.json").write_text(entry, encoding="utf-8")


def start(recipe: Path, *arguments: str) -> subprocess.Popen[str]:
    return popen("train", str(recipe), "--runs-dir", str(recipe.parent / "runs"), *arguments, cwd=recipe.parent)


def popen(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LFWRAP, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=cwd,
    )


def train(recipe: Path, *arguments: str) -> Run:
    process = start(recipe, *arguments)
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    return load_run("latest", recipe.parent / "runs")


def resume(run: Run) -> tuple[Run, str]:
    done = subprocess.run(
        [*LFWRAP, "runs", "resume", str(run.paths.root)],
        capture_output=True,
        text=True,
        cwd=run.paths.root,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return load_run(run.paths.root), done.stderr


def wait_for_step(recipe: Path, step: int) -> Run:
    """The run in the recipe's folder, once its log shows this step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for root in (recipe.parent / "runs").glob("*"):
            history = load_history(root / "output" / "trainer_log.jsonl")
            if history and history[-1].step >= step:
                return load_run(root)
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never reached")


def losses(run: Run) -> dict[int, float]:
    return {entry.step: entry.loss for entry in load_history(run.paths.trainer_log) if entry.loss is not None}


def assert_nothing_left(run: Run, within_s: float = 0) -> None:
    deadline = time.monotonic() + within_s
    while run_processes(str(run.paths.root)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [process.cmdline() for process in run_processes(str(run.paths.root))] == []


def test_a_run_stopped_twice_has_the_very_curve_of_one_that_ran_through(
    recipe: Path, reference: dict[int, float]
) -> None:
    draw, done = random.SystemRandom(), 0
    process = start(recipe)
    for attempt, (number, code) in enumerate(((signal.SIGINT, 130), (signal.SIGHUP, 143))):
        run = wait_for_step(recipe, draw.randint(done + 1, done + STEPS // 4))
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert_nothing_left(run)
        record = load_run(run.paths.root).record
        assert (record.state, record.attempt) == (RunState.INTERRUPTED, attempt)
        assert done < record.global_step < STEPS
        done = record.global_step
        process = popen("runs", "resume", str(run.paths.root), cwd=recipe.parent)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"going on from checkpoint-{done}" in errors
    resumed = load_run(run.paths.root)
    assert (resumed.record.state, resumed.record.attempt) == (RunState.SUCCEEDED, 2)
    assert losses(resumed) == pytest.approx(reference, abs=1e-6)


def test_a_killed_lfwrap_leaves_a_lost_run_that_resumes_past_a_broken_checkpoint(
    recipe: Path, reference: dict[int, float]
) -> None:
    process = start(recipe)
    run = wait_for_step(recipe, 9)
    process.kill()
    process.wait()
    assert load_run(run.paths.root).record.state is RunState.LOST
    assert_nothing_left(run, within_s=60)
    newest, before = run.paths.checkpoints()[:2]
    weights = newest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    resumed, errors = resume(run)
    assert f"{newest.name} is not whole and is left out: adapter_model.safetensors has" in errors
    assert f"going on from {before.name}" in errors
    assert resumed.record.state is RunState.SUCCEEDED
    assert losses(resumed) == pytest.approx(reference, abs=1e-6)


def test_two_ranks_stop_together_and_go_on(recipe: Path) -> None:
    process = start(recipe, "--gpus", "2")
    run = wait_for_step(recipe, 3)
    assert len(training_ranks(run_processes(str(run.paths.root)))) == 2
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert_nothing_left(run)
    resumed, _ = resume(run)
    assert resumed.record.state is RunState.SUCCEEDED
    assert (resumed.record.launcher, resumed.record.effective_batch_size) == ("torchrun", 8)
    assert sorted(losses(resumed)) == list(range(1, STEPS + 1))


def test_a_lost_rank_fails_the_run_and_leaves_nothing(recipe: Path) -> None:
    process = start(recipe, "--gpus", "2")
    run = wait_for_step(recipe, 5)
    training_ranks(run_processes(str(run.paths.root)))[-1].kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 7, errors
    assert_nothing_left(run)
    assert load_run(run.paths.root).record.state is RunState.FAILED
    assert "(lost-rank)" in errors
    assert [rank.number for rank in run.paths.attempt(0).ranks() if rank.stderr.is_file()] == [0, 1]


def test_the_deepspeed_launcher_trains_with_zero_2(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> None:
    pytest.importorskip("deepspeed")
    block = "optim: adamw_torch\nlfwrap:\n  zero_stage: 2\n  effective_batch_size: 8\n"
    recipe = write_recipe(tmp_path, tiny_model, tiny_data, block)
    run = train(recipe, "--gpus", "2", "--launcher", "deepspeed", "max_steps=4")
    assert (run.record.zero_stage, run.record.world_size, run.record.effective_batch_size) == (2, 2, 8)
    assert run.record.global_step == 4
    assert orjson.loads(run.paths.attempt(0).exit.read_bytes())["probe"]["shape"][0] == 1
    assert_nothing_left(run)
