"""`lfwrap train dataset=NAME` evaluates on NAME_val where that is registered, and the recipe leaves it open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.cli.app import run

RECIPE = """\
model_name_or_path: nobody/tiny
finetuning_type: lora
lora_target: all
dataset: d
template: qwen
num_train_epochs: 2.0
lfwrap:
  effective_batch_size: 4
"""
KEYS = ("eval_dataset", "eval_strategy", "eval_steps", "do_eval", "per_device_eval_batch_size", "val_size")


@pytest.fixture
def dry(tmp_path, monkeypatch, capsys):
    """dry(rows, kept back, arguments): the evaluation's keys, and the notes, of a training that would be started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)

    def prepare(rows: int, kept: int | None, *arguments: str, recipe: str = RECIPE):
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        registry = {}
        for name, count in (("d", rows), ("d_val", kept)):
            if count is not None:
                row = [{"instruction": f"What is {number}?", "input": "", "output": "One."} for number in range(count)]
                (data / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in row), encoding="utf-8")
                registry[name] = {"file_name": f"{name}.jsonl"}
        (data / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
        Path("r.yaml").write_text(recipe, encoding="utf-8")
        code = run(["train", "r.yaml", "--dry-run", "--hardware", "cpu", "--json", *arguments])
        job = json.loads(capsys.readouterr().out)
        assert code == 0, job
        return {key: job["engine"][key] for key in KEYS if key in job["engine"]}, " ".join(job["notes"])

    return prepare


@pytest.mark.parametrize(
    ("rows", "kept", "wanted"),
    [
        (1000, 10, {"eval_strategy": "steps", "eval_steps": 0.1}),
        (1000, 50, {"eval_strategy": "steps", "eval_steps": 0.2}),
        (1000, 150, {"eval_strategy": "steps", "eval_steps": 0.5}),
        (100, 50, {"do_eval": True}),
    ],
)
def test_it_evaluates_as_often_as_costs_a_twentieth_of_the_time(dry, rows, kept, wanted):
    found, notes = dry(rows, kept)
    assert found.pop("per_device_eval_batch_size") <= 4
    assert found == {"eval_dataset": "d_val", **wanted}
    assert f"d_val, {kept} rows" in notes
    assert "do_eval: false" in notes


def test_a_limit_of_updates_counts_for_what_it_costs(dry):
    assert dry(1000, 10, "max_steps=10")[0]["do_eval"] is True
    assert dry(1000, 10, "max_steps=1000")[0]["eval_steps"] == 0.1


def test_with_checkpoints_of_an_epochs_part_it_evaluates_when_they_are_saved(dry):
    found, _ = dry(1000, 10, "lfwrap.checkpoint_every_epoch_frac=0.5")
    assert (found["eval_strategy"], found["eval_steps"]) == ("steps", 0.25)


@pytest.mark.parametrize(
    "said", ["do_eval=false", 'eval_strategy="no"', "eval_dataset=d", "val_size=0.1 eval_strategy=epoch"]
)
def test_a_recipe_that_says_something_about_evaluation_stays_as_it_is(dry, said):
    found, notes = dry(100, 10, *said.split())
    assert found.get("eval_dataset") != "d_val"
    assert "Evaluated on" not in notes


def test_nothing_kept_back_an_empty_set_and_a_recipe_without_a_block_are_not_evaluated(dry):
    assert dry(100, None)[0] == {}
    assert dry(100, 0)[0] == {}
    plain = RECIPE.partition("lfwrap:")[0] + "do_train: true\nper_device_train_batch_size: 2\n"
    assert dry(100, 10, recipe=plain)[0] == {}
    assert dry(100, 10, "dataset=d,d_val")[0] == {}
