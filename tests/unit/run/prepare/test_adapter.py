"""Which adapter a run trains on from, and whether the recipe agrees with it."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import pytest

from lfwrap.errors import RecipeError, RunStateError
from lfwrap.recipe.recipe import Recipe, load_recipe, parse_overrides
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, prepare_record, utc_now
from lfwrap.run.prepare.adapter import adapter_overrides, find_adapter

CONFIG = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.1,
    "target_modules": ["v_proj", "q_proj"],
    "base_model_name_or_path": "org/model",
    "use_dora": False,
}


def write_adapter(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    paths = create_run_folder(tmp_path / "runs", "one")
    record = RunRecord("one", RunState.INTERRUPTED, "r", utc_now(), "", "org/model", "lora", "sft", "qwen")
    return prepare_record(paths, dataclasses.replace(record, global_step=6, max_steps=9))


def recipe(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, environ={})


def test_the_newest_whole_checkpoint_of_an_unfinished_run(run: Run, tmp_path: Path) -> None:
    write_adapter(run.paths.output / "checkpoint-2")
    write_adapter(run.paths.output / "checkpoint-4")
    (write_adapter(run.paths.output / "checkpoint-6") / "adapter_model.safetensors").write_bytes(b"cut")
    source = find_adapter("one", tmp_path / "runs")
    assert source.folder == run.paths.output / "checkpoint-4"
    assert source.name == "one, step 4"


def test_the_result_of_a_finished_run(run: Run, tmp_path: Path) -> None:
    write_adapter(run.paths.output / "checkpoint-6")
    write_adapter(run.paths.output)
    prepare_record(run.paths, dataclasses.replace(run.record, state=RunState.SUCCEEDED, global_step=9))
    source = find_adapter("one", tmp_path / "runs")
    assert (source.folder, source.name) == (run.paths.output, "one, step 9")


def test_a_folder_by_its_path(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine")
    source = find_adapter(str(folder), tmp_path / "runs")
    assert (source.run, source.base_model, source.name) == (None, "org/model", str(folder))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"finetuning_type": "full"}, "trains no LoRA adapter"),
        ({"state": RunState.RUNNING, "supervisor": "own"}, "still trains"),
        ({}, "no whole adapter"),
    ],
)
def test_runs_that_have_no_adapter_to_give(run: Run, tmp_path: Path, changes: dict, words: str) -> None:
    if "supervisor" in changes:
        from lfwrap.run.folder.identity import probe_process

        changes |= {"supervisor": probe_process()}
    prepare_record(run.paths, dataclasses.replace(run.record, **changes))
    with pytest.raises(RunStateError, match=words):
        find_adapter("one", tmp_path / "runs")


def test_a_folder_that_holds_no_whole_lora_adapter(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine")
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "IA3"}', encoding="utf-8")
    with pytest.raises(RunStateError, match="not that of a LoRA adapter") as caught:
        find_adapter(str(folder), tmp_path / "runs")
    assert "adapter_model.safetensors is missing" in caught.value.message


def test_what_the_recipe_leaves_open_is_the_adapters(tmp_path: Path) -> None:
    source = find_adapter(str(write_adapter(tmp_path / "mine", use_rslora=True)), tmp_path)
    overrides = adapter_overrides(source, recipe(tmp_path, "lora_rank: 8\ndataset: d\n"), tmp_path)
    assert parse_overrides(overrides) == {
        "finetuning_type": "lora",
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_target": "q_proj,v_proj",
        "use_rslora": True,
        "model_name_or_path": "org/model",
        "adapter_name_or_path": str(tmp_path / "mine"),
        "create_new_adapter": False,
    }


def test_a_difference_that_was_typed_is_named_as_such(tmp_path: Path) -> None:
    source = find_adapter(str(write_adapter(tmp_path / "mine")), tmp_path)
    written = recipe(tmp_path, "lora_rank: 8\nlora_dropout: 0.2\n")
    typed = load_recipe(written.path, ["lora_rank=16"], {})
    with pytest.raises(RecipeError) as caught:
        adapter_overrides(source, typed, tmp_path)
    places = {finding.message.split(":")[0]: (finding.file, finding.line) for finding in caught.value.findings}
    assert places == {"lora_rank": ("command line", None), "lora_dropout": (str(written.path), 2)}


def test_every_difference_is_named_at_its_place(tmp_path: Path) -> None:
    source = find_adapter(str(write_adapter(tmp_path / "mine")), tmp_path)
    text = "model_name_or_path: org/other\nlora_rank: 16\nlora_dropout: 0.1\nlora_target: k_proj\nuse_dora: true\n"
    with pytest.raises(RecipeError) as caught:
        adapter_overrides(source, recipe(tmp_path, text), tmp_path)
    places = {(finding.message.split(":")[0], finding.line) for finding in caught.value.findings}
    assert places == {("model_name_or_path", 1), ("lora_rank", 2), ("lora_target", 4), ("use_dora", 5)}
    assert any("16, but the adapter has 8" in finding.message for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("targets", "agrees"),
    [
        (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], True),
        (["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "router"], True),
        (["q_proj"], False),
        ("^model.*q_proj$", True),
    ],
)
def test_all_targets_are_those_of_a_model_that_is_known(tmp_path: Path, targets: object, agrees: bool) -> None:
    base = "Qwen/Qwen2.5-7B-Instruct"
    adapter = write_adapter(tmp_path / "mine", target_modules=targets, base_model_name_or_path=base)
    source = find_adapter(str(adapter), tmp_path)
    wanted = recipe(tmp_path, "lora_target: all\n")
    if agrees:
        adapter_overrides(source, wanted, tmp_path)
    else:
        with pytest.raises(RecipeError, match="does not fit"):
            adapter_overrides(source, wanted, tmp_path)


def test_a_copied_base_is_the_same_base(tmp_path: Path) -> None:
    for name, weights in (("a", b"w"), ("b", b"w"), ("c", b"x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    source = find_adapter(str(write_adapter(tmp_path / "mine", base_model_name_or_path=str(tmp_path / "a"))), tmp_path)
    adapter_overrides(source, recipe(tmp_path, "model_name_or_path: b\n"), tmp_path)
    with pytest.raises(RecipeError):
        adapter_overrides(source, recipe(tmp_path, "model_name_or_path: c\n"), tmp_path)
