"""``effective_batch_size: auto`` is a batch that the machine's processes can make, whatever the rows ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.plan.data_size import choose_for_rows
from lfwrap.plan.inputs.batch import nearest_batch, solve_batch
from lfwrap.recipe.inputs.data_size import settle_size
from lfwrap.recipe.recipe import build_recipe
from lfwrap.yaml_files import parse_yaml

AUTO = "dataset: d\ntemplate: alpaca\nlfwrap:\n  effective_batch_size: auto\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that registers 300 rows as ``d``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"instruction": f"Name {number}", "input": "", "output": "No."} for number in range(300)]
    (tmp_path / "d.json").write_text(json.dumps(rows), encoding="utf-8")
    (tmp_path / "dataset_info.json").write_text('{"d": {"file_name": "d.json"}}', encoding="utf-8")
    return tmp_path


def settle(folder, processes, *overrides, text=AUTO):
    recipe = build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"), overrides)
    return settle_size(recipe, folder, lambda: processes)


@pytest.mark.parametrize(("processes", "batch"), [(1, 4), (2, 4), (3, 3), (4, 4), (5, 5), (8, 8), (16, 16)])
def test_each_process_gets_the_same_number_of_rows(folder, processes, batch):
    settled = settle(folder, processes)
    assert settled.effective_batch == batch
    assert f"{batch} an update" in settled.size_note


def test_a_larger_batch_has_the_learning_rate_that_goes_with_it(folder):
    assert settle(folder, 1).engine_values["learning_rate"] < settle(folder, 8).engine_values["learning_rate"]


@pytest.mark.parametrize(
    ("overrides", "batch"),
    [
        (("per_device_train_batch_size=8",), 8),
        (("gradient_accumulation_steps=3",), 3),
        (("per_device_train_batch_size=3", "gradient_accumulation_steps=5"), 15),
        (("gradient_accumulation_steps=1", "lfwrap.max_micro_batch=2"), 2),
        (("per_device_train_batch_size=none",), 4),
    ],
)
def test_what_the_command_line_fixes_is_kept(folder, overrides, batch):
    assert settle(folder, 1, *overrides).effective_batch == batch


def test_rows_that_cannot_be_counted_make_a_batch_of_about_16(folder):
    text = AUTO.replace("dataset: d", "dataset: elsewhere")
    assert [settle(folder, count, text=text).effective_batch for count in (1, 3, 8, 32)] == [16, 15, 16, 32]


def test_the_machine_is_not_looked_at_where_the_batch_is_a_number(folder):
    recipe = build_recipe(parse_yaml(AUTO.replace("auto", "12"), "r.yaml"), Path("r.yaml"))
    assert settle_size(recipe, folder, lambda: pytest.fail("looked at the machine")) is recipe


@given(st.integers(1, 10_000_000), st.integers(1, 300), st.none() | st.integers(1, 40), st.none() | st.integers(1, 40))
def test_every_choice_can_be_made(rows, processes, micro_batch, accumulation):
    choice = choose_for_rows(rows, nearest=lambda batch: nearest_batch(batch, processes, micro_batch, accumulation))
    assert solve_batch(choice.batch, processes, micro_batch, accumulation).effective == choice.batch
    assert choice.learning_rate > 0
