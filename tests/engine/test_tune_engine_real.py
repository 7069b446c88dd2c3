"""`lfwrap tune` with the real engine and a tiny model: trials, the lock, and a training that follows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

MAKE_MODEL = Path(__file__).with_name("make_tiny_model.py")
RECIPE = """\
model_name_or_path: model
template: qwen
stage: sft
finetuning_type: lora
lora_rank: 4
lora_dropout: 0.1
lora_target: all
dataset: harbour_en
max_samples: 24
cutoff_len: 512
preprocessing_num_workers: 1
learning_rate: 1.0e-3
num_train_epochs: 1.0
lfwrap:
  effective_batch_size: 4
  speed: max
"""


def lfwrap(place, *arguments):
    command = [sys.executable, "-m", "lfwrap", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    subprocess.run([sys.executable, str(MAKE_MODEL), str(folder / "model")], check=True, capture_output=True)
    (folder / "my.yaml").write_text(RECIPE)
    return folder


def test_ways_are_tried_and_the_training_follows_the_fastest(place):
    done = lfwrap(place, "tune", "my.yaml", "--candidates", "3", "--json")
    found = json.loads(done.stdout)
    assert [trial["speed"] for trial in found["trials"]] == ["auto", "max", "max"]  # auto's own first, never extended
    best, auto = found["trials"][found["winner"]], found["trials"][0]
    assert auto["status"] == best["status"] == "ok"
    assert best["epoch_s"] <= auto["epoch_s"]
    assert best["tokens_per_s"] > best["supervised_tokens_per_s"] > 0
    assert {trial["status"] for trial in found["trials"]} <= {"ok", "slower"}
    assert found["lock"] == str(place / "my.lock.yaml") or (place / found["lock"]).is_file()

    job = json.loads(lfwrap(place, "train", "my.yaml", "--dry-run", "--json").stdout)
    assert any("Measured by `lfwrap tune`" in note for note in job["notes"])
    assert {key: job["engine"][key] for key in best["values"]} == best["values"]
    assert (job["command"]["environment"].get("LFWRAP_SPEED") == "max") == (best["speed"] == "max")

    for more in (["--no-lock"], ["lfwrap.speed=exact"], ["lora_rank=8"]):
        other = json.loads(lfwrap(place, "train", "my.yaml", "--dry-run", "--json", *more).stdout)
        assert not any("Measured by `lfwrap tune`" in note for note in other["notes"])
    assert any("measured with other recipe" in note for note in other["notes"])


def test_a_recipe_that_leaves_nothing_to_choose_is_refused(place):
    command = [sys.executable, "-m", "lfwrap", "tune", "my.yaml", "lfwrap.speed=exact"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False)
    assert done.returncode == 2
    assert "nothing to choose" in done.stderr
