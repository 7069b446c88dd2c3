"""The keys and defaults that lfwrap holds by hand are the engine's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from lfwrap.engine import keys
from lfwrap.engine.facts import load_engine_facts

PACKAGE = Path(keys.__file__).parents[1]
KEYS = load_engine_facts().keys
DEFAULTS = {
    "DEFAULT_STAGE": ("stage",),
    "DEFAULT_METHOD": (keys.METHOD_KEY,),
    "DEFAULT_RANK": ("lora_rank",),
    "DEFAULT_TARGET": ("lora_target",),
    "DEFAULT_EPOCHS": (keys.EPOCHS_KEY,),
    "DEFAULT_LEARNING_RATE": ("learning_rate",),
    "DEFAULT_SCHEDULER": ("lr_scheduler_type",),
    "DEFAULT_CUTOFF": (keys.CUTOFF_KEY,),
    "DEFAULT_EVAL_BATCH": (keys.EVAL_BATCH_KEY,),
    "DEFAULT_OPTIMIZER": ("optim",),
    "DEFAULT_QUANTIZATION": ("quantization_method",),
    "DEFAULT_SEED": ("seed",),
    "DEFAULT_SERVING_CONTEXT": ("vllm_maxlen", "sglang_maxlen"),
}


def named_keys():
    named = [value for name, value in vars(keys).items() if name.endswith(("_KEY", "_KEYS"))]
    return {key for value in named for key in ((value,) if isinstance(value, str) else value)}


def test_every_named_key_is_one_of_the_engine():
    assert len(named_keys()) >= 15
    assert named_keys() <= KEYS.keys()


def test_the_keys_whose_no_is_a_text_are_all_of_them():
    assert set(keys.NO_IS_TEXT_KEYS) == {name for name, fact in KEYS.items() if "no" in fact.choices}
    assert all("bool" not in KEYS[name].types for name in keys.NO_IS_TEXT_KEYS)


def constants():
    """Every text that a module of lfwrap gives a name of its own."""
    for path in PACKAGE.rglob("*.py"):
        if "worker" not in path.parts:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                    yield path.relative_to(PACKAGE).as_posix(), node.value.value


def test_no_other_module_gives_a_key_a_name():
    assert {place for place, value in constants() if value in named_keys()} == {"engine/keys.py"}


def test_every_default_is_held_to_a_key():
    assert {name for name in vars(keys) if name.startswith("DEFAULT_")} == DEFAULTS.keys()


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_the_engines(name):
    assert [KEYS[key].default for key in DEFAULTS[name]] == [getattr(keys, name)] * len(DEFAULTS[name])
