"""A value of the wrong type is told with its place, whatever it is of, and nothing that reads it fails of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.errors import Severity
from lfwrap.invocation import Invocation
from lfwrap.run.prepare.job import TrainRequest, preview_job

RECIPE = "model_name_or_path: m\ntemplate: alpaca\ndataset: tiny\ndataset_dir: data\nlfwrap:\n"
READ_HERE = [
    "learning_rate", "num_train_epochs", "max_steps", "warmup_steps", "warmup_ratio", "cutoff_len", "max_samples",
    "val_size", "lr_scheduler_kwargs", "per_device_train_batch_size", "gradient_accumulation_steps", "lora_rank",
    "seed",
]  # fmt: skip


def preview(folder, *overrides, batch="auto"):
    (folder / "r.yaml").write_text(f"{RECIPE}  effective_batch_size: {batch}\n", encoding="utf-8")
    request = TrainRequest("r.yaml", overrides, runs_dir=Path("runs"), hardware="rtx-4090", is_dry=True)
    return preview_job(request, Invocation(folder, {"XDG_CACHE_HOME": str(folder / "cache")}))


@pytest.mark.parametrize("batch", ["auto", 16])
@pytest.mark.parametrize("key", READ_HERE)
def test_a_wrong_value_is_an_error_with_its_place(tmp_path, tiny_data, monkeypatch, key, batch):
    monkeypatch.chdir(tmp_path)
    for value in ("abc", "[1, 2]", "{a: b}"):
        if key == "lr_scheduler_kwargs" and value != "[1, 2]":
            continue
        job = preview(tmp_path, f"{key}={value}", batch=batch)
        errors = [each for each in job.report.recipe if each.severity is Severity.ERROR]
        assert [(each.rule, each.file) for each in errors] == [("wrong-type", "command line")], value
        assert job.schedule is None


def test_nothing_is_said_of_the_updates_of_a_wrong_recipe(tmp_path, tiny_data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = preview(tmp_path, "max_samples=-1")
    assert [each.rule for each in job.report.recipe if "rows" in each.message] == []


def test_a_schedulers_own_values_are_the_engines_to_check(tmp_path, tiny_data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = preview(tmp_path, "lr_scheduler_type=cosine", "lr_scheduler_kwargs.num_cycles=many")
    assert job.schedule is not None
    assert job.schedule.learning_updates is None
