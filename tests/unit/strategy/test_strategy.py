"""How a recipe is run: by its lock where that holds, else by a plan, else as it is written."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from fake_engine import fake_engine

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.invocation import Invocation
from lfwrap.recipe.recipe import load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy import lock
from lfwrap.strategy.lock import LockEntry, Trial, describe_key, write_entries
from lfwrap.strategy.planning import Machine
from lfwrap.strategy.strategy import StrategySource, choose_strategy

TEXT = """\
model_name_or_path: Qwen/Qwen2.5-7B-Instruct
template: qwen
stage: sft
dataset: elsewhere
finetuning_type: {method}
bf16: true
lfwrap: {{effective_batch_size: 128, speed: {speed}}}
"""
CHOICES = {
    "lfwrap.zero_stage": 2,
    "torch_compile": True,
    "enable_liger_kernel": True,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 64,
}


class Place:
    """A recipe in a folder of its own, its lock, and a machine with an engine."""

    def __init__(self, folder, speed="auto", hardware="h100-80gb", method="lora"):
        self.invocation = Invocation(folder, {"XDG_STATE_HOME": str(folder / "state")})
        path = folder / "my.yaml"
        path.write_text(TEXT.format(speed=speed, method=method))
        self.machine = Machine(load_hardware(hardware), 1, engine=fake_engine(folder))
        self.values = resolve_values(load_recipe(path, environ={}), load_engine_facts(), self.machine.hardware, 1)

    def measure(self, choices, speed="auto", **other):
        """Put a measurement into the recipe's lock; ``other`` replaces parts of what it holds for."""
        key = describe_key(self.values.recipe, self.machine, self.machine.engine, self.invocation.cwd)
        trials = (Trial("as it is", "auto", {}, "ok", "", 12.0), Trial("won", speed, choices, "ok", "", 10.0))
        entry = LockEntry(dataclasses.replace(key, **other), "2026-11-22T07:00:00Z", 1, trials)
        write_entries(self.invocation.cwd / "my.lock.yaml", [entry])
        return entry

    def choose(self, **options):
        return choose_strategy(self.values, self.machine, self.invocation, **options)


@pytest.fixture(autouse=True)
def _no_packages(monkeypatch):
    monkeypatch.setattr(lock, "engine_versions", lambda _: "llamafactory 0.9.5")


def test_a_lock_that_holds_decides(tmp_path):
    place = Place(tmp_path, speed="max")
    entry = place.measure(CHOICES, speed="max")
    chosen = place.choose()
    assert (chosen.source, chosen.lock, chosen.choices) == (StrategySource.LOCK, entry, CHOICES)
    assert (chosen.zero_stage, chosen.compiles_layers, chosen.extension) == (2, True, True)
    assert set(chosen.settings) == CHOICES.keys() - {"lfwrap.zero_stage", "torch_compile"}
    assert chosen.notes[0] == (
        "Measured by `lfwrap tune` on 2026-11-22 (my.lock.yaml): won, 10 s an epoch, speed: auto's own choice"
        " 12 s an epoch."
    )


def test_a_lock_of_other_data_is_left_alone_and_that_is_said_first(tmp_path):
    place = Place(tmp_path)
    place.measure(CHOICES, data="other")
    chosen = place.choose()
    assert (chosen.source, chosen.lock) == (StrategySource.PLAN, None)
    assert chosen.notes[0].startswith("my.lock.yaml: ignored, measured with other data;")
    assert place.choose(use_lock=False).notes == chosen.notes[1:]


def test_a_lock_that_cant_be_followed_is_left_alone(tmp_path):
    place = Place(tmp_path)
    place.measure({})
    chosen = place.choose()
    assert chosen.source is StrategySource.PLAN
    assert chosen.notes[0].startswith("my.lock.yaml: ignored, as it can't be followed")


@pytest.mark.parametrize("speed", ["exact", "none"])
def test_where_nothing_is_left_to_choose_no_lock_is_read(tmp_path, speed):
    place = Place(tmp_path, speed=speed)
    (tmp_path / "my.lock.yaml").write_text("[", encoding="utf-8")
    assert place.choose().lock is None


def test_speed_max_means_the_extension_whatever_decides(tmp_path):
    place = Place(tmp_path, speed="max")
    assert place.choose().extension
    place.measure(CHOICES, speed="auto")
    assert not place.choose().extension  # it was slower with it


def test_debugging_shows_why_a_strategy_was_chosen(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "lfwrap.strategy")
    place = Place(tmp_path)
    place.choose()
    assert caplog.messages[0].startswith("no lock: neither ")
    assert caplog.messages[1].startswith("from the plan: ")
    caplog.clear()
    place.measure(CHOICES)
    place.choose()
    assert caplog.messages[0].startswith("from the lock: lfwrap.zero_stage=2, torch_compile=True, ")
    assert caplog.messages[1].startswith("Measured by `lfwrap tune`")


def test_what_does_not_fit_is_tried_by_force_only(tmp_path):
    place = Place(tmp_path, hardware="t4", method="full")
    with pytest.raises(PlanError):
        place.choose()
    forced = place.choose(force=True)
    assert (forced.source, forced.plan, forced.settings) == (StrategySource.RECIPE, None, {})
    assert forced.notes[0].startswith("Tried all the same:")
