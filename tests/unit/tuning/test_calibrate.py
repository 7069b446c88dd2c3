"""From a run's own figures to a measurement, on file, and into the next plan."""

from __future__ import annotations

import json

import pytest

from lfwrap.cli.app import run as lfwrap
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import PreflightError, RunStateError
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import RunRecord, RunState, prepare_record
from lfwrap.run.launch.launch import LaunchOptions
from lfwrap.strategy.planning import add_measurement, load_measurements, measurements_file
from lfwrap.tuning.calibrate import measure_run

DEVICE = "NVIDIA H100 80GB HBM3"
YAML = """\
model_name_or_path: Qwen/Qwen2.5-0.5B-Instruct
template: qwen
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
dataset: d
cutoff_len: 2048
bf16: true
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
"""
MEMORY = {
    "update": 3,
    "update_s": 0.9,
    "peak_allocated_bytes": 20_000_000_000,
    "peak_reserved_bytes": 21_000_000_000,
    "outside_bytes": 700_000_000,
    "device_bytes": 85_000_000_000,
    "device": DEVICE,
}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("llamafactory")
    return tmp_path


@pytest.fixture
def trained(tmp_path):
    """A run of two ranks whose GPU was measured."""
    paths = create_run_folder(tmp_path / "runs", "r")
    paths.engine_yaml.write_text(YAML, encoding="utf-8")
    fields = {"recipe": "r", "created_at": "2026", "updated_at": "", "base_model": "m", "finetuning_type": "lora"}
    record = RunRecord(name="r", state=RunState.PREPARED, stage="sft", template="qwen", **fields)
    for rank, peak in ((0, 20_000_000_000), (1, 20_500_000_000)):
        folder = paths.attempt(0).rank(rank).root
        folder.mkdir(parents=True)
        (folder / "memory.json").write_text(json.dumps(MEMORY | {"peak_allocated_bytes": peak}), encoding="utf-8")
        (folder / "probe.json").write_text(json.dumps({"shape": [4, 1500]}), encoding="utf-8")
    return prepare_record(paths, record)


def test_a_run_is_measured_by_its_longest_batch_and_its_largest_rank(trained):
    found = measure_run(trained, locate_engine())
    assert (found.device, found.peak_allocated_bytes, found.update_s) == (DEVICE, 20_500_000_000, 0.9)
    assert found.predicted_peak_bytes > 1_000_000_000
    for rank in (0, 1):
        (trained.paths.attempt(0).rank(rank).root / "probe.json").unlink()
    assert measure_run(trained, locate_engine()).predicted_peak_bytes > found.predicted_peak_bytes  # the cutoff


@pytest.mark.parametrize("key", ["compiled", "extended"])
def test_what_the_engines_yaml_does_not_say_of_a_run_is_known_of_its_start(trained, key):
    assert key not in measure_run(trained, locate_engine()).kind
    options = LaunchOptions(**{key: True}).to_json()
    trained.paths.launch.write_text(json.dumps(options), encoding="utf-8")
    assert key in measure_run(trained, locate_engine()).kind.split()


def test_a_run_that_measured_nothing_is_refused(trained):
    for rank in (0, 1):
        (trained.paths.attempt(0).rank(rank).root / "memory.json").unlink()
    with pytest.raises(RunStateError, match="no GPU memory was measured"):
        measure_run(trained, locate_engine())


def test_measurements_belong_to_a_device_and_to_versions(trained, monkeypatch):
    found = measure_run(trained, locate_engine())
    add_measurement(found)
    add_measurement(found)
    assert load_measurements(DEVICE, locate_engine()) == (found,)
    assert load_measurements("another", locate_engine()) == load_measurements(DEVICE, None) == ()
    monkeypatch.setattr("lfwrap.strategy.planning.package_version", lambda *_: "0")
    assert load_measurements(DEVICE, locate_engine()) == ()


def test_an_unreadable_file_is_said_with_its_remedy(trained):
    measurements_file().parent.mkdir(parents=True)
    measurements_file().write_text("{", encoding="utf-8")
    with pytest.raises(PreflightError, match="can't be read"):
        load_measurements(DEVICE, locate_engine())


def test_the_command_keeps_it_and_the_next_plan_says_so(trained, tmp_path, capsys):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(YAML + "lfwrap: {effective_batch_size: 8}\n", encoding="utf-8")
    line = ["plan", str(recipe), "--hardware", "h100-80gb", "--longest-row", "1500", "--json"]
    assert lfwrap(line) == 0
    before = json.loads(capsys.readouterr().out)
    assert lfwrap(["plan", "--calibrate", "latest"]) == 0
    said = capsys.readouterr()
    assert DEVICE in said.out
    assert "measurements.json" in said.err
    assert lfwrap(line) == 0
    after = json.loads(capsys.readouterr().out)
    assert any("measured on this kind of GPU" in note for note in after["notes"])
    assert after["speed"]["basis"] != before["speed"]["basis"]
    context = {term["name"]: term["bytes"] for term in after["memory"]["terms"]}["CUDA context"]
    assert context == 700_000_000


def test_neither_recipe_nor_run_is_a_usage_error(capsys):
    assert lfwrap(["plan"]) == 2
    assert "RECIPE" in capsys.readouterr().err
