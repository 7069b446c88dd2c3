"""Loading recipes: files, overrides, MODEL_PATH, the ``lfwrap:`` block, data set folders."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.errors import RecipeError, UsageError
from lfwrap.recipe.inputs.datasets import find_dataset_dir
from lfwrap.recipe.recipe import Source, build_recipe, load_recipe, parse_overrides, quoted_override, split_names
from lfwrap.yaml_files import parse_yaml


def recipe(text: str, *overrides: str, environ: dict | None = None, path: str = "r.yaml"):
    return build_recipe(parse_yaml(text, path), Path(path), overrides, environ)


@pytest.mark.parametrize(
    ("text", "environ", "overrides", "model", "source"),
    [
        ("model_name_or_path: a", {}, (), "a", Source.RECIPE),
        ("model_name_or_path: a", {"MODEL_PATH": "b"}, (), "b", Source.MODEL_PATH),
        ("model_name_or_path: a", {"MODEL_PATH": "b"}, ("model_name_or_path=c",), "c", Source.COMMAND_LINE),
        ("stage: sft", {"MODEL_PATH": "b"}, (), "b", Source.MODEL_PATH),
        ("model_name_or_path: a", {"MODEL_PATH": ""}, (), "a", Source.RECIPE),
    ],
)
def test_who_names_the_model(text, environ, overrides, model, source):
    loaded = recipe(text, *overrides, environ=environ)
    assert (loaded.model, loaded.sources["model_name_or_path"]) == (model, source)


def test_overrides_reach_into_the_block_and_nested_keys():
    loaded = recipe(
        "lr_scheduler_kwargs: {num_cycles: 1, x: 2}\nlfwrap: {effective_batch_size: 128}",
        "lfwrap.effective_batch_size=64",
        "lfwrap.speed=auto",
        "lr_scheduler_kwargs.num_cycles=3",
        "learning_rate=1e-4",
    )
    assert (loaded.intent.effective_batch_size, loaded.intent.speed) == (64, "auto")
    assert loaded.engine_values == {"lr_scheduler_kwargs": {"num_cycles": 3, "x": 2}, "learning_rate": 1e-4}
    assert loaded.document.values["lr_scheduler_kwargs"] == {"num_cycles": 1, "x": 2}


def test_an_override_alone_makes_a_block():
    assert recipe("stage: sft", "lfwrap.zero_stage=2").has_intent
    assert not recipe("stage: sft", "learning_rate=1e-4").has_intent
    assert recipe("lfwrap:\n").has_intent


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1e-4", 1e-4), ("a=true", True), ("a=[q_proj, v_proj]", ["q_proj", "v_proj"]), ("a=", None), ("a=b=c", "b=c")],
)
def test_override_values_are_yaml(text, value):
    assert parse_overrides([text]) == {"a": value}


@pytest.mark.parametrize("key", ["eval_strategy", "save_strategy", "logging_strategy"])
@pytest.mark.parametrize("text", ["no", "No", "NO", '"no"', "'no'"])
def test_no_is_a_text_where_a_key_has_it_among_its_texts(key, text):
    assert parse_overrides([f"{key}={text}"])[key] == "no"


def test_no_is_false_everywhere_else():
    parsed = parse_overrides(["bf16=no", "lfwrap.offload=no", "eval_strategy=false", "save_strategy=off"])
    assert list(parsed.values()) == [False] * 4


@pytest.mark.parametrize("text", ["2024", "true", "it's", "[x", "1: 2"])
def test_a_quoted_override_is_its_text_when_it_is_typed_in_a_shell(text):
    (typed,) = shlex.split(quoted_override("run_name", text))
    assert parse_overrides([typed]) == {"run_name": text}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("--learning_rate=1", "without dashes: learning_rate=1"),
        ("learning_rate", "learning_rate=1e-4"),
        ("=1", ""),
        ("a..b=1", ""),
    ],
)
def test_what_is_no_override(text, hint):
    with pytest.raises(UsageError) as caught:
        parse_overrides([text])
    assert hint in caught.value.hint


def test_wrong_block_values_are_left_at_their_defaults():
    loaded = recipe("lfwrap: {effective_batch_size: many, zero_stage: 2, offload: null, x: 1}")
    assert (loaded.intent.effective_batch_size, loaded.intent.zero_stage, loaded.intent.offload) == (None, 2, False)
    assert [problem.key for problem in loaded.intent_problems] == ["effective_batch_size", "x"]


def test_bundled_recipes_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("recipes/paper.yaml", environ={}).path == bundled_path("recipes/paper.yaml")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "paper.yaml").write_text("model_name_or_path: mine\n", encoding="utf-8")
    assert load_recipe("recipes/paper.yaml", environ={}).model == "mine"


def test_a_missing_recipe_says_where_to_look():
    with pytest.raises(RecipeError) as caught:
        load_recipe("nowhere.yaml")
    assert "lfwrap recipe list" in caught.value.hint


@pytest.mark.parametrize("name", ["paper", "papre", "recipe/paper.yaml", "smoke.yml"])
def test_a_missing_recipe_gets_the_nearest_bundled_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    nearest = "recipes/smoke.yaml" if "smoke" in name else "recipes/paper.yaml"
    assert f"Did you mean '{nearest}'?" in caught.value.hint


@pytest.mark.parametrize("text", ["", "# only a remark\n", "{}\n"])
def test_an_empty_recipe_is_none(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"r\.yaml: nothing in it"):
        load_recipe(tmp_path / "r.yaml", environ={"MODEL_PATH": "m"})


def test_a_value_that_is_no_yaml_is_named_with_its_key():
    with pytest.raises(RecipeError, match=r"command line  lora_rank: '\[1': not a valid value: [^\n]+$") as caught:
        parse_overrides(["lora_rank=[1"])
    assert "\"lora_rank='[1'\"" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "names"), [("a, b,", ("a", "b")), (["a", " b"], ("a", "b")), (None, ()), (3, ()), ("", ())]
)
def test_split_names(value, names):
    assert split_names(value) == names


def register(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_info.json").write_text(json.dumps({name: {} for name in names}), encoding="utf-8")
    return folder


@pytest.fixture
def places(tmp_path):
    return tmp_path / "cwd", tmp_path / "elsewhere"


def test_without_a_dataset_dir_the_first_folder_that_has_all_is_taken(places):
    cwd, elsewhere = places
    register(cwd / "data", "a")
    register(elsewhere, "a", "b")
    text = "dataset: a\neval_dataset: b"
    found = find_dataset_dir(recipe(text, path=str(elsewhere / "r.yaml")), cwd)
    assert (found.path, found.findings) == (str(elsewhere), ())
    register(cwd / "data", "a", "b")
    assert find_dataset_dir(recipe(text, path=str(elsewhere / "r.yaml")), cwd).path == str(cwd / "data")


def test_the_bundled_data_is_the_last_place(tmp_path):
    assert find_dataset_dir(recipe("dataset: animals_zh"), tmp_path).path == str(bundled_path("data"))


def test_a_relative_dataset_dir_is_found_from_cwd_then_beside_the_recipe(places):
    cwd, elsewhere = places
    register(elsewhere / "rows", "a")
    beside = recipe("dataset: a\ndataset_dir: rows", path=str(elsewhere / "r.yaml"))
    assert find_dataset_dir(beside, cwd).path == str(elsewhere / "rows")
    register(cwd / "rows", "a")
    assert find_dataset_dir(beside, cwd).path == str(cwd / "rows")


def test_an_unregistered_name_gets_the_nearest(tmp_path):
    register(tmp_path / "data", "animals")
    (finding,) = find_dataset_dir(recipe("dataset: animls\ndataset_dir: data"), tmp_path).findings
    assert finding.rule == "unknown-dataset"
    assert "Did you mean 'animals'?" in finding.hint
    assert finding.line == 1


def test_a_folder_without_a_registry(tmp_path):
    (finding,) = find_dataset_dir(recipe("dataset: a\ndataset_dir: nowhere"), tmp_path).findings
    assert (finding.rule, finding.line) == ("dataset-dir", 2)


def test_a_broken_registry_registers_nothing(tmp_path):
    register(tmp_path / "data").joinpath("dataset_info.json").write_text("{", encoding="utf-8")
    (finding,) = find_dataset_dir(recipe("dataset: a\ndataset_dir: data"), tmp_path).findings
    assert finding.rule == "unknown-dataset"


@pytest.mark.parametrize("text", ["dataset: org/x\ndataset_dir: ONLINE", "dataset: x\ndataset_dir: REMOTE:org/r", ""])
def test_no_folder_is_needed(text, tmp_path):
    found = find_dataset_dir(recipe(text), tmp_path)
    assert (found.path, found.findings) == (None, ())
