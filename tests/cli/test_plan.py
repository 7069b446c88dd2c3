"""`lfwrap plan`, as it is typed."""

from __future__ import annotations

import json
import shlex

import pytest

from lfwrap.cli.app import run
from lfwrap.recipe.library import bundled_recipes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)
    return tmp_path


def answer(capsys, *arguments):
    code = run(["plan", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def plan_json(capsys, *arguments):
    code, out, _ = answer(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_the_paper_recipe_on_one_h100(capsys):
    code, out, err = answer(capsys, "recipes/paper.yaml", "--hardware", "h100-80gb")
    assert code == 0
    for words in ("= 128", "base weights", "peak allocated", "tokens/s", "a checkpoint", "not taken", "lfwrap train"):
        assert words in out
    assert "note:" in err


def test_its_last_line_is_a_command_that_renders_the_plan(capsys):
    arguments = ["recipes/paper.yaml", "--hardware", "h100-80gb"]
    code, value = plan_json(capsys, *arguments)
    assert code == 0
    line = answer(capsys, *arguments)[1].splitlines()[-1]
    words = shlex.split(line)
    assert words[:2] == ["lfwrap", "train"]
    assert run(["recipe", "explain", *words[2:], "--hardware", "h100-80gb", "--json"]) == 0
    rendered = {row["key"]: row["value"] for row in json.loads(capsys.readouterr().out)["values"]}
    for key in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        assert rendered[key] == value[key]
    assert all(rendered[key] == change["value"] for key, change in value["changes"].items())


def test_json_has_the_agreed_keys(capsys):
    code, value = plan_json(capsys, "recipes/paper.yaml", "--hardware", "2x-h200", "--rows", "1000")
    assert code == 0
    assert value["schema"] == "lfwrap.plan/1"
    assert value["world_size"] == 2
    assert value["speed"]["steps"] == 8
    inside = [term["bytes"] for term in value["memory"]["terms"] if term["in_peak"]]
    assert sum(inside) == value["memory"]["peak_allocated_bytes"] < value["memory"]["device_bytes"]


def test_nothing_fits_ends_with_5_and_what_would(capsys):
    code, out, err = answer(capsys, "recipes/paper.yaml", "--hardware", "t4")
    assert (code, out) == (5, "")
    assert "quantization_bit=4" in err
    code, value = plan_json(capsys, "recipes/paper.yaml", "--hardware", "t4")
    assert code == 5
    assert value["error"]["kind"] == "PlanError"


def test_what_is_suggested_fits(capsys):
    code, value = plan_json(capsys, "recipes/paper.yaml", "--hardware", "t4", "quantization_bit=4", "cutoff_len=2048")
    assert code == 0
    assert value["memory"]["device_bytes"] < value["memory"]["limit_bytes"]


def test_fixed_predicts_what_the_recipe_says(capsys):
    arguments = ["recipes/paper.yaml", "--fixed", "cutoff_len=1024", "--hardware"]
    code, value = plan_json(capsys, *arguments, "h100-80gb")
    assert code == 0
    assert (value["per_device_train_batch_size"], value["gradient_accumulation_steps"]) == (16, 8)
    assert value["changes"] == {}
    code, value = plan_json(capsys, *arguments, "rtx-4090")
    assert code == 5
    assert value["fits"] is False
    code, out, err = answer(capsys, *arguments, "rtx-4090")
    assert code == 5
    assert "lfwrap train" not in out
    assert "Would fit" in err


def test_the_time_of_the_papers_measured_run(capsys):
    """985 Alpaca rows of about 170 tokens on a 7B shape, one H100: about 10 s an update."""
    options = ["--longest-row", "672", "--mean-row", "170", "--rows", "985"]
    code, value = plan_json(capsys, "recipes/paper.yaml", "--fixed", "--hardware", "h100-80gb", *options)
    assert code == 0
    assert value["speed"]["step_s"] == pytest.approx(10, rel=0.25)
    assert value["speed"]["steps"] == 8


def test_overrides_count(capsys):
    _, small = plan_json(capsys, "recipes/paper.yaml", "--fixed", "--hardware", "h100-80gb", "lora_rank=8")
    _, large = plan_json(capsys, "recipes/paper.yaml", "--fixed", "--hardware", "h100-80gb", "lora_rank=16")
    assert small["memory"]["peak_allocated_bytes"] < large["memory"]["peak_allocated_bytes"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["recipes/paper.yaml", "model_name_or_path=me/unknown"], 6, "shapes are not known"),
        (["recipes/paper.yaml", "model_name_or_path=openai/gpt-oss-20b", "template=gpt_oss"], 6, "quantised already"),
        (["recipes/paper.yaml", "lora_rnak=4"], 3, "lora_rank"),
        (["recipes/none.yaml"], 3, "none.yaml"),
        (["recipes/paper.yaml", "--hardware", "h1"], 2, "no such machine"),
        (["recipes/paper.yaml", "finetuning_type=oft"], 6, "not modelled"),
        (["recipes/paper.yaml", "lora_target=nothing"], 6, "not a linear layer"),
        (["recipes/paper.yaml", "--gpus", "4"], 2, "has 1 GPU"),
    ],
)
def test_what_cannot_be_planned_says_why(capsys, arguments, code, words):
    hardware = [] if "--hardware" in arguments else ["--hardware", "h100-80gb"]
    found, out, err = answer(capsys, *arguments, *hardware)
    assert (found, out) == (code, "")
    assert words in err


def test_a_recipe_without_block_is_predicted_as_it_is(capsys, elsewhere):
    path = elsewhere / "plain.yaml"
    path.write_text(
        "model_name_or_path: Qwen/Qwen2.5-0.5B\nstage: sft\ndo_train: true\nfinetuning_type: lora\ntemplate: qwen\n"
        "dataset: animals_zh\nbf16: true\ncutoff_len: 512\nper_device_train_batch_size: 4\n",
        encoding="utf-8",
    )
    code, value = plan_json(capsys, str(path), "--hardware", "rtx-4090")
    assert code == 0
    assert (value["per_device_train_batch_size"], value["gradient_accumulation_steps"]) == (4, 1)


RECIPES = [entry for entry in bundled_recipes() if entry.recipe.intent.hardware]


@pytest.mark.parametrize("entry", RECIPES, ids=[entry.name for entry in RECIPES])
def test_every_bundled_recipe_fits_the_machine_it_is_for(capsys, entry):
    code, value = plan_json(capsys, entry.name, "--hardware", entry.recipe.intent.hardware)
    assert code == 0, value
    assert value["fits"]


def test_enough_recipes_name_their_machine():
    assert len(RECIPES) >= 8
