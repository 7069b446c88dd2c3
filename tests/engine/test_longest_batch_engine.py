"""The longest batch is tried early and leaves no trace, plainly and under DeepSpeed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.bundled import render_template
from lfwrap.engine import arguments

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SCRIPT = Path(__file__).with_name("train_with_probe.py")
RECIPE = """\
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_dropout: 0.1
lora_target: all
template: qwen
dataset: tiny
cutoff_len: 64
per_device_train_batch_size: 2
learning_rate: 1.0e-3
max_steps: 3
logging_steps: 1
save_strategy: "no"
optim: adamw_torch
use_cpu: true
seed: 7
report_to: none
"""


def test_the_losses_are_the_same_with_and_without(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> None:
    pytest.importorskip("deepspeed")
    own = f"model_name_or_path: {tiny_model}\ndataset_dir: {tiny_data}\n"
    (tmp_path / "tiny.yaml").write_text(RECIPE + own, encoding="utf-8")
    for stage in (0, 2, 3):
        text = render_template(f"deepspeed/ds_z{stage}.json.j2", offload=False, bf16=False)
        (tmp_path / f"ds_z{stage}.json").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), str(tmp_path / "tiny.yaml")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(arguments.FOLDER),
            "MASTER_PORT": str(free_port()),
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert sorted(found) == [f"{way}x{count}" for way in ("ds_z0", "ds_z2", "ds_z3", "plain") for count in (1, 2)]
    for way in found.values():
        assert len(way["with"]) == 3
        assert way["with"] == way["without"]
        (report,) = way["reports"]
        assert report["shape"] == [2, 64]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
