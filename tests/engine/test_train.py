"""The main job on the real engine: a recipe becomes an adapter, with everything on record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.engine.child_process import run_processes
from lfwrap.run.folder.record import RunState, load_run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(200)]

RECIPE = """\
finetuning_type: lora
lora_rank: 8
lora_target: all
template: qwen
dataset: tiny
cutoff_len: 128
learning_rate: 1.0e-3
num_train_epochs: 2.0
lfwrap:
  effective_batch_size: 4
"""


def lfwrap(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lfwrap", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=180)


def test_a_recipe_becomes_an_adapter_on_record(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> None:
    (tmp_path / "my recipe.yaml").write_text(RECIPE, encoding="utf-8")
    done = lfwrap("train", "my recipe.yaml", f"model_name_or_path={tiny_model}", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "lfwrap.run/1"
    assert (answer["state"], answer["global_step"], answer["max_steps"]) == ("succeeded", 8, 8)
    assert answer["last_loss"] < answer["first_loss"]
    run = load_run(answer["path"])
    assert run.adapter_dir == Path(answer["adapter_dir"])
    assert (run.adapter_dir / "adapter_model.safetensors").is_file()
    assert run.record.effective_batch_size == 4
    assert run.record.base_model == str(tiny_model)
    assert run.record.dataset_dir == str(tiny_data)
    assert run.record.versions["llamafactory"] == "0.9.5"
    assert run_processes(str(run.paths.root)) == []


def test_what_lies_in_the_folder_can_be_read_and_done_again(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE + f"model_name_or_path: {tiny_model}\n", encoding="utf-8")
    done = lfwrap("train", "r.yaml", "max_steps=2", "do_train=true", "use_cpu=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training …" in done.stderr
    assert "step 2/2" in done.stderr
    run = load_run("latest", tmp_path / "runs")
    assert done.stdout.strip() == str(run.paths.output)

    stdout = run.paths.attempt(0).stdout.read_text(encoding="utf-8")
    assert "What is" not in stdout
    assert "training example is left out" in stdout
    inputs = json.loads(run.paths.inputs.read_bytes())
    assert {"recipe", "engine_yaml", "model:config.json", "dataset:tiny"} <= set(inputs["files"])
    environment = json.loads(run.paths.environment.read_bytes())
    assert environment["versions"]["transformers"]
    events = [json.loads(line)["event"] for line in run.paths.events.read_text(encoding="utf-8").splitlines()]
    assert events == ["prepared", "state", "started", "state"]

    again = lfwrap("train", run.paths.recipe, "--dry-run", "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    first = {key: value for key, value in load_engine_yaml(run.paths.engine_yaml).items() if key != "output_dir"}
    second = {key: value for key, value in json.loads(again.stdout)["engine"].items() if key != "output_dir"}
    assert second == first

    assert "can't be resumed" in lfwrap("runs", "resume", run.paths.root, cwd=tmp_path).stderr


def load_engine_yaml(path: Path) -> dict[str, object]:
    from lfwrap.yaml_files import load_yaml

    return load_yaml(path).values


def test_an_engine_that_fails_is_diagnosed(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> None:
    """A tokenizer that only the engine can find broken."""
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "r.yaml").write_text(RECIPE + f"model_name_or_path: {model}\n", encoding="utf-8")
    done = lfwrap("train", "r.yaml", "--json", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    run = load_run("latest", tmp_path / "runs")
    assert run.record.state is RunState.FAILED
    exit_json = json.loads(run.paths.attempt(0).exit.read_bytes())
    assert exit_json["diagnosis"]["rule"]
    assert json.loads(done.stdout)["error"]["kind"] == "EngineError"
    assert "  | " in done.stderr
    assert "stderr.log" in done.stderr
