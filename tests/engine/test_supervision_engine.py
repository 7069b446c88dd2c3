"""Faults that lfwrap meets by itself on the real engine: too little memory, a full disk, a hung rank, impatience."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lfwrap.engine.child_process import run_processes, training_ranks
from lfwrap.run.folder.monitor import load_history
from lfwrap.run.folder.record import Run, RunState, load_run
from lfwrap.yaml_files import load_yaml

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits, namespaces and /proc are Linux's"),
]

LFWRAP = (sys.executable, "-m", "lfwrap")
RECIPE = """\
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: tiny
template: qwen
cutoff_len: 128
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-3
use_cpu: true
seed: 7
save_steps: 4
"""


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> Callable[..., Path]:
    def write(more: str = "", **values: Any) -> Path:
        lines = "".join(f"{key}: {value}\n" for key, value in values.items())
        path = tmp_path / "tiny.yaml"
        own = f"model_name_or_path: {tiny_model}\ndataset_dir: {tiny_data}\n"
        kept = [line for line in RECIPE.splitlines() if line.split(":")[0] not in values]
        path.write_text("\n".join(kept) + "\n" + own + lines + more, encoding="utf-8")
        return path

    return write


@pytest.fixture(autouse=True)
def _nothing_outlives_a_failed_test(tmp_path: Path) -> Iterator[None]:
    yield
    for root in (tmp_path / "runs").glob("2*"):
        for process in run_processes(str(root)):
            with contextlib.suppress(psutil.Error):
                process.kill()


def lfwrap(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*LFWRAP, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300, **options)


def wait_for_step(runs: Path, step: int) -> Run:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for root in runs.glob("*"):
            history = load_history(root / "output" / "trainer_log.jsonl")
            if history and history[-1].step >= step:
                return load_run(root)
        time.sleep(0.02)
    raise AssertionError(f"step {step} was never reached")


def exit_of(run: Run, attempt: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.paths.attempt(attempt).exit.read_bytes())
    return found


def test_out_of_memory_halves_the_micro_batch_and_goes_on(
    tmp_path: Path, recipe: Callable[..., Path], marked_in_proc: Callable[[Path], list[str]]
) -> None:
    """A real failure of torch's allocator: the process may have 3.9 GB, four rows of 2,048 tokens want more."""
    data = tmp_path / "data" / "tiny.jsonl"
    row = json.dumps({"instruction": "Count.", "input": "", "output": "one two three four " * 200})
    data.write_text((row + "\n") * 12, encoding="utf-8")
    path = recipe(
        cutoff_len=2048,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=1,
        disable_gradient_checkpointing="true",
        flash_attn="disabled",
        max_steps=1,
    )
    limit = 3_900_000_000
    done = lfwrap(
        "train",
        path,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
    assert "out of memory: micro-batch 4 → 2, accumulation 1 → 2; still 4 sequences" in done.stderr
    run = load_run("latest", tmp_path / "runs")
    assert (run.record.micro_batch_size, run.record.gradient_accumulation_steps) == (2, 2)
    assert run.record.effective_batch_size == 4
    pinned = load_yaml(run.paths.engine_yaml).values
    assert (pinned["per_device_train_batch_size"], pinned["gradient_accumulation_steps"]) == (2, 2)
    assert load_yaml(run.paths.attempt(0).engine_yaml).values["per_device_train_batch_size"] == 4
    first = exit_of(run, 0)
    assert (first["state"], first["diagnosis"]["rule"]) == ("failed", "cpu-out-of-memory")
    events = [json.loads(line) for line in run.paths.events.read_text(encoding="utf-8").splitlines()]
    assert [event["changes"] for event in events if event["event"] == "memory-lowered"] == [
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    ]
    assert marked_in_proc(run.paths.root) == []


def test_a_disk_that_fills_up_before_a_checkpoint_is_told_and_the_run_goes_on_with_more_room(
    tmp_path: Path, recipe: Callable[..., Path], marked_in_proc: Callable[[Path], list[str]]
) -> None:
    """A file system of its own, which somebody else fills to the last byte after the first checkpoint."""
    enter = ["unshare", "-rm"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    path = recipe(max_steps=45, save_steps=15, lora_rank=64)
    disk = tmp_path / "disk"
    disk.mkdir()
    python = f"{sys.executable} -m lfwrap"
    script = f"""
        mount -t tmpfs -o size=300m tmpfs {disk} || exit 99
        {{ while ! ls {disk}/runs/*/output/checkpoint-15/trainer_state.json >&2; do sleep 0.05; done
           cat /dev/zero > {disk}/filler; }} 2> /dev/null &
        {python} train {path} --runs-dir {disk}/runs; echo $? > {tmp_path}/first.code
        rm {disk}/filler
        cp -r {disk}/runs {tmp_path}/full
        {python} runs resume latest --runs-dir {disk}/runs; echo $? > {tmp_path}/second.code
        cp -r {disk}/runs {tmp_path}/end
    """
    done = subprocess.run(
        [*enter, "sh", "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    if done.returncode == 99:
        pytest.skip("no tmpfs here")
    assert (tmp_path / "first.code").read_text() == "7\n", done.stderr
    full = load_run("latest", tmp_path / "full")
    assert full.record.state is RunState.FAILED
    assert exit_of(full, 0)["diagnosis"]["rule"] == "disk-full"
    assert "The disk is full" in done.stderr
    assert (tmp_path / "second.code").read_text() == "0\n", done.stderr
    assert "going on from checkpoint-15" in done.stderr
    end = load_run("latest", tmp_path / "end")
    assert (end.record.state, end.record.global_step) == (RunState.SUCCEEDED, 45)
    assert marked_in_proc(disk / "runs" / end.paths.name) == []


def test_a_detached_run_outlives_its_watcher_and_a_hung_rank_ends_it_with_all_stacks(
    tmp_path: Path, recipe: Callable[..., Path], marked_in_proc: Callable[[Path], list[str]]
) -> None:
    path = recipe(max_steps=4000)
    options = ("--gpus", "2", "--detach", "--on-stall", "stop", "--stall-minutes", "0.1")
    done = lfwrap("train", path, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    root = Path(done.stdout.strip())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background would have it ignored
    watcher = subprocess.Popen([*LFWRAP, "runs", "watch", str(root)], stderr=subprocess.PIPE, text=True)
    run = wait_for_step(tmp_path / "runs", 5)
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    assert load_run(root).record.state is RunState.RUNNING

    ranks = training_ranks(run_processes(str(root)))
    assert len(ranks) == 2
    ranks[-1].suspend()
    watched = lfwrap("runs", "watch", root, cwd=tmp_path)
    assert watched.returncode == 7, watched.stderr
    assert "(stalled)" in watched.stderr
    assert marked_in_proc(run.paths.root) == []
    ended = load_run(root)
    assert ended.record.state is RunState.FAILED
    stacks = ended.paths.attempt(0).stall(0).read_text(encoding="utf-8")
    assert "state=stopped" in stacks
    assert stacks.count("== rank ") == 2
    assert "_inner_training_loop" in stacks  # whatever they wait in, a collective or a product
    assert all(rank.stderr.is_file() for rank in ended.paths.attempt(0).ranks())
    assert "going on from checkpoint-" in lfwrap("runs", "resume", root, "--dry-run", cwd=tmp_path).stderr


def test_an_impatient_person_gets_out_at_once_and_nothing_stays(
    tmp_path: Path, recipe: Callable[..., Path], marked_in_proc: Callable[[Path], list[str]]
) -> None:
    """A second ^C; the third, which kills whatever is there, is the process tests'."""
    process = subprocess.Popen(
        [*LFWRAP, "train", str(recipe(max_steps=4000))],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    run = wait_for_step(tmp_path / "runs", 2)
    began = time.monotonic()
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.15)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - began < 20
    assert marked_in_proc(run.paths.root) == []
    assert load_run(run.paths.root).record.state is RunState.INTERRUPTED
    assert exit_of(run, 0)["stop_level"] in {"hurried", "killed", "asked"}
