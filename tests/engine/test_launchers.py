"""Every way of starting the processes, on the real engine: the effective batch is the recipe's, as its own log says.

Each start costs two processes' imports, 20 s on two quiet cores: two nodes and Ray always run, the other ways with
``LFWRAP_ALL_LAUNCHERS=1``. Further ones stand in `test_train_faults.py`: torchrun, and ZeRO-2 by DeepSpeed's launcher.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lfwrap.engine.child_process import run_processes, training_ranks
from lfwrap.run.folder.monitor import load_history
from lfwrap.run.folder.record import Run, RunState, load_run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
every_launcher = pytest.mark.skipif(
    not os.environ.get("LFWRAP_ALL_LAUNCHERS"), reason="LFWRAP_ALL_LAUNCHERS=1 runs the other ways of starting, too"
)

LFWRAP = (sys.executable, "-m", "lfwrap")
BATCH = re.compile(r"Total train batch size \(w\. parallel, distributed & accumulation\) = (\d+)")
RECIPE = """\
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: tiny
template: qwen
cutoff_len: 64
learning_rate: 1.0e-3
optim: adamw_torch
seed: 7
lfwrap:
  effective_batch_size: 8
  max_micro_batch: 2
"""


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE + f"  zero_stage: null\nmodel_name_or_path: {tiny_model}\n", encoding="utf-8")
    return path


def with_zero(recipe: Path, stage: int) -> Path:
    pytest.importorskip("deepspeed")
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("zero_stage: null", f"zero_stage: {stage}"), "utf-8")
    return recipe


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*LFWRAP, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=folder,
        env=environ,
    )


def train(recipe: Path, *arguments: str) -> Run:
    process = start(recipe.parent, "train", recipe.name, "--no-probe", *arguments)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return load_run("latest", recipe.parent / "runs")


def assert_batch(run: Run, expected: int = 8) -> None:
    """The engine itself counted so many rows an update, in every start."""
    for number in run.paths.attempt_numbers():
        logs = run.paths.attempt(number).root.rglob("stderr.log")
        counted = {int(size) for log in logs for size in BATCH.findall(log.read_text(encoding="utf-8"))}
        assert counted == {expected}
    assert run.record.effective_batch_size == expected


def losses(run: Run) -> list[float]:
    return [entry.loss for entry in load_history(run.paths.trainer_log) if entry.loss is not None]


def wait_until(condition: Callable[[], bool], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "that never came"
        time.sleep(0.05)


def steps_done(runs: Path) -> int:
    histories = [load_history(root / "output" / "trainer_log.jsonl") for root in runs.glob("*")]
    return max((history[-1].step for history in histories if history), default=0)


@every_launcher
def test_zero_0_by_the_engines_own_command_and_by_deepspeeds_launcher_are_the_same_training(recipe: Path) -> None:
    with_zero(recipe, 0)
    own = train(recipe, "--gpus", "2", "--engine-cli", "max_steps=2")
    deepspeed = train(recipe, "--gpus", "2", "--launcher", "deepspeed", "max_steps=2")
    for run, launcher in ((own, "torchrun"), (deepspeed, "deepspeed")):
        assert (run.record.launcher, run.record.zero_stage, run.record.world_size) == (launcher, 0, 2)
        assert_batch(run)
    assert "FORCE_TORCHRUN" in own.paths.attempt(0).command.read_text(encoding="utf-8")
    assert losses(deepspeed) == pytest.approx(losses(own), abs=1e-4)


@every_launcher
def test_deepspeeds_launcher_trains_with_zero_3(recipe: Path) -> None:
    run = train(with_zero(recipe, 3), "--gpus", "2", "--launcher", "deepspeed", "max_steps=2")
    assert (run.record.zero_stage, len(losses(run))) == (3, 2)
    assert_batch(run)


@every_launcher
def test_torchrun_starts_lost_processes_again_from_the_newest_checkpoint(recipe: Path) -> None:
    """ZeRO-2 on two processes, one of which is killed."""
    with_zero(recipe, 2)
    process = start(
        recipe.parent, "train", recipe.name, "--gpus", "2", "--max-restarts", "1", "max_steps=40", "save_steps=2"
    )
    runs = recipe.parent / "runs"
    wait_until(lambda: steps_done(runs) >= 5)
    run = load_run("latest", runs)
    training_ranks(run_processes(str(run.paths.root)))[-1].kill()
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    run = load_run(run.paths.root)
    assert (run.record.state, run.record.global_step, run.record.attempt) == (RunState.SUCCEEDED, 40, 0)
    assert_batch(run)
    steps = [entry.step for entry in load_history(run.paths.trainer_log) if entry.loss is not None]
    assert sorted(set(steps)) == list(range(1, 41))
    # The second start began after a checkpoint, not at the beginning.
    assert steps.count(1) == 1


def test_two_nodes_of_which_one_is_killed_go_on_together(recipe: Path) -> None:
    """ZeRO-3 by torchrun, one process on each node; both nodes are this machine."""
    with_zero(recipe, 3)
    meeting = ("--master-addr", "127.0.0.1", "--master-port", str(free_port()))
    common = ("train", recipe.name, "--nnodes", "2", "--gpus", "1", *meeting, "max_steps=14", "save_steps=2")
    nodes = [start(recipe.parent, *common, "--node-rank", str(rank)) for rank in (0, 1)]
    wait_until(lambda: steps_done(recipe.parent / "runs") >= 5)
    kill_all(nodes[1])
    _, errors = nodes[0].communicate(timeout=300)
    assert nodes[0].returncode == 7, errors
    run = load_run("latest", recipe.parent / "runs")
    assert run.record.state is RunState.FAILED
    assert (run.record.nodes, run.record.world_size) == (2, 2)

    resume = ("runs", "resume", str(run.paths.root), *meeting)
    nodes = [start(recipe.parent, *resume, "--node-rank", str(rank)) for rank in (1, 0)]
    ended = [(node.communicate(timeout=300), node.returncode) for node in nodes]
    assert [code for _, code in ended] == [0, 0], ended
    run = load_run(run.paths.root)
    assert (run.record.state, run.record.global_step, run.record.attempt) == (RunState.SUCCEEDED, 14, 1)
    assert "resume_from_checkpoint" in run.paths.attempt(1).command.read_text(encoding="utf-8")
    assert_batch(run)
    folder = run.paths.attempt(1).root / "nodes" / "1"
    assert json.loads((folder / "exit.json").read_bytes())["exit_code"] == 0
    events = run.paths.events.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in events].count("started") == 2


def test_a_local_ray_trains_stops_with_a_checkpoint_and_goes_on(recipe: Path) -> None:
    pytest.importorskip("ray")
    arguments = ("--gpus", "2", "--launcher", "ray", "max_steps=400", "lfwrap.speed=max")
    process = start(recipe.parent, "train", recipe.name, *arguments)
    runs = recipe.parent / "runs"
    wait_until(lambda: steps_done(runs) >= 3)
    process.terminate()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 143, errors
    run = load_run("latest", runs)
    assert (run.record.state, run.record.launcher, run.record.world_size) == (RunState.INTERRUPTED, "ray", 2)
    assert [path.name for path in run.paths.checkpoints()] == [f"checkpoint-{run.record.global_step}"]
    assert [one.cmdline() for one in run_processes(str(run.paths.root))] == []
    assert_batch(run)
    log = run.paths.attempt(0).stdout.read_text(encoding="utf-8")
    assert "What is" not in log
    ranks = [rank.stdout.read_text(encoding="utf-8") for rank in run.paths.attempt(0).ranks()]
    assert ["extended for speed" in text for text in ranks] == [True, True]
    plan = json.loads(subprocess.check_output([*LFWRAP, "runs", "resume", run.paths.root, "--dry-run", "--json"]))
    assert plan["checkpoint"].endswith(f"checkpoint-{run.record.global_step}")
    assert "worker train_ray" in plan["command"]["quoted"]


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL a node's lfwrap and all that it has started, as when its machine loses power."""
    tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in tree:
        one.suspend()
    for one in tree:
        one.kill()
    process.wait()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
