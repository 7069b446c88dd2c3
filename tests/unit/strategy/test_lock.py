"""A recipe's lock: written, read back, followed where everything is as it was, left alone where not."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.bundled import bundled_path
from lfwrap.errors import RecipeError
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe.recipe import build_recipe
from lfwrap.strategy import lock
from lfwrap.strategy.lock import (
    LockEntry,
    LockKey,
    Trial,
    choose_lock_path,
    describe_machine,
    load_lock,
    lock_paths,
    save_entry,
)
from lfwrap.strategy.planning import Machine
from lfwrap.yaml_files import Document

KEY = LockKey("1 × GPU", "engine 1", "recipe1", "data1")
VALUES = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 6, "packing": True, "cutoff_len": 1024}
TRIALS = (
    Trial("as it is, 8 × 3 × 1", "auto", {"per_device_train_batch_size": 8}, "ok", "20% slower", 12.0, 0.012, 100.0),
    Trial("packs of 1024, 4 × 6 × 1", "max", VALUES, "ok", "", 10.0, 0.01, 120.0, 60.0, 2**30, 2**31, 9.5),
    Trial("Liger, 64 × 1 × 1", "auto", {}, "oom", "out of memory"),
)
ENTRY = LockEntry(KEY, "2026-11-22T07:00:00Z", 1, TRIALS)


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_it_is_read_back_as_it_was_written(tmp_path):
    path = tmp_path / "my.lock.yaml"
    save_entry(path, ENTRY)
    assert load_lock(path) == [ENTRY]
    assert path.read_text().startswith("# Measured by `lfwrap tune`")


def test_a_later_measurement_replaces_that_of_the_same_machine_and_recipe(tmp_path):
    path = tmp_path / "my.lock.yaml"
    other = dataclasses.replace(ENTRY, key=dataclasses.replace(KEY, machine="2 × GPU"))
    newer = dataclasses.replace(ENTRY, key=dataclasses.replace(KEY, versions="engine 2"), winner=0)
    for entry in (ENTRY, other, newer):
        save_entry(path, entry)
    assert load_lock(path) == [other, newer]


@pytest.mark.parametrize(
    "text",
    ["schema: lfwrap.lock/1\n", "entries: [1]\n", "entries:\n- key: {machine: a}\n  tuned_at: b\n", "entries: [\n"],
)
def test_a_broken_file_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "my.lock.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"my\.lock\.yaml"):
        load_lock(path)


def test_a_winner_that_was_not_measured_is_refused(tmp_path):
    save_entry(tmp_path / "my.lock.yaml", dataclasses.replace(ENTRY, winner=2))
    with pytest.raises(RecipeError, match="not measured"):
        load_lock(tmp_path / "my.lock.yaml")


def test_what_differs_is_named():
    assert KEY.differences(KEY) == []
    assert KEY.differences(dataclasses.replace(KEY, data="x", versions="y")) == ["versions", "data"]


def test_it_lies_beside_ones_own_recipe_and_in_the_state_folder_for_a_bundled_one(tmp_path):
    own = tmp_path / "my.yaml"
    own.write_text("a: 1\n")
    assert choose_lock_path(own) == tmp_path / "my.lock.yaml"
    shipped = choose_lock_path(bundled_path("recipes/paper.yaml"))
    assert shipped.is_relative_to(tmp_path / "state")
    assert shipped in lock_paths(bundled_path("recipes/paper.yaml"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cant_be_written_is_left_alone(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o500)
    assert choose_lock_path(folder / "my.yaml").is_relative_to(tmp_path / "state")


def test_the_key_changes_with_what_has_weight_and_with_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "engine_versions", lambda _: "llamafactory 0.9.5")
    data = tmp_path / "data"
    shutil.copytree(bundled_path("data"), data)
    machine = Machine(load_hardware("h100-80gb"), 1, dataset_dir=data)

    def key(**changes):
        values = {"lora_rank": 8, "seed": 1, "dataset": "harbour_en", **changes}
        recipe = build_recipe(Document(values, "my.yaml"), tmp_path / "my.yaml")
        return lock.describe_key(recipe, machine, fake_engine(tmp_path), tmp_path)

    first = key()
    assert first.differences(key(seed=2, num_train_epochs=3, output_dir="x")) == []
    assert first.differences(key(lora_rank=16)) == ["recipe"]
    with (data / "harbour_en.jsonl").open("a") as sink:
        sink.write("\n")
    assert first.differences(key()) == ["data"]


def test_machines_are_told_apart():
    names = {
        describe_machine(Machine(load_hardware(name), size))
        for name, size in (("h100-80gb", 1), ("2x-h100-80gb", 2), ("h200", 1), ("cpu", 1))
    }
    assert len(names) == 4
    assert all(Path(name).name for name in names)
