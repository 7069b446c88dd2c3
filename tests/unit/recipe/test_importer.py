"""PEFT- and TRL-style configurations as recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import Severity
from lfwrap.recipe.check import check_recipe
from lfwrap.recipe.importer import import_config, recipe_text
from lfwrap.recipe.recipe import build_recipe
from lfwrap.yaml_files import parse_yaml

FACTS = load_engine_facts()


def imported(**config):
    return import_config(config, FACTS)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"use_lora": True}, {"finetuning_type": "lora"}),
        ({"use_lora": False}, {"finetuning_type": "full"}),
        ({"use_qlora": True}, {"finetuning_type": "lora", "quantization_bit": 4}),
        ({"use_qlora": True, "quantization_bit": 8}, {"quantization_bit": 8}),
        ({"load_in_8bit": True}, {"quantization_bit": 8}),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, {"quantization_type": "fp4"}),
        ({"r": 16, "lora_alpha": 32, "lora_dropout": 0}, {"lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0}),
        ({"target_modules": ["q_proj", "v_proj"]}, {"lora_target": "q_proj,v_proj"}),
        ({"lora_target_modules": "q_proj, v_proj"}, {"lora_target": "q_proj,v_proj"}),
        ({"target_modules": "all-linear"}, {"lora_target": "all"}),
        ({"modules_to_save": ["lm_head"]}, {"additional_target": "lm_head"}),
        ({"init_lora_weights": "pissa_niter_16"}, {"pissa_init": True}),
        ({"learning_rate": "2e-4"}, {"learning_rate": 2e-4}),
        ({"num_epochs": "3"}, {"num_train_epochs": 3}),
        ({"max_seq_length": 2048.0}, {"cutoff_len": 2048}),
        ({"warmup_ratio": 0.03}, {"warmup_steps": 0.03}),
        ({"evaluation_strategy": "epoch", "val_split": 0.1}, {"eval_strategy": "epoch", "val_size": 0.1}),
        ({"attn_implementation": "flash_attention_2"}, {"flash_attn": "fa2"}),
        ({"gradient_checkpointing": False}, {"disable_gradient_checkpointing": True}),
        ({"use_gradient_checkpointing": "unsloth"}, {"use_unsloth_gc": True}),
        ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
        ({"packing": True}, {"neat_packing": True}),
        ({"model_id": "Qwen/Qwen2.5-3B-Instruct"}, {"template": "qwen"}),
        ({"batch_size": 2, "gradient_accumulation_steps": 8}, {"lfwrap": {"effective_batch_size": 16}}),
        ({"lora": {"r": 8}, "training": {"lr": 1e-4}}, {"lora_rank": 8, "learning_rate": 1e-4}),
        ({"data_path": "data/rows of mine.jsonl"}, {"dataset": "rows_of_mine"}),
        ({"early_stopping_patience": 3}, {"early_stopping_steps": 3}),
        ({"checkpoint_every_epoch_frac": "0.1"}, {"lfwrap": {"checkpoint_every_epoch_frac": 0.1}}),
        ({"training": {"checkpoint_every_epoch_frac": 1.0}}, {"lfwrap": {"checkpoint_every_epoch_frac": 1.0}}),
        ({"checkpoint_every_epoch_frac": 0.1, "max_steps": 9}, {"lfwrap": {}, "max_steps": 9}),
        ({"global_batch_size": 128, "batch_size": 4}, {"lfwrap": {"effective_batch_size": 128}}),
    ],
)
def test_keys(config, expected):
    values = imported(**config).values
    assert {key: values.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"frobnicate": 1}, "no such key"),
        ({"lora_r": "many"}, "does not fit lora_rank (int)"),
        ({"optim": "adamw_hf"}, "does not fit optim"),
        ({"bias": "all"}, "no biases"),
        ({"init_lora_weights": "olora"}, "'olora'"),
        ({"checkpoint_every_epoch_frac": 2}, "out of range (0.001 to 1.0)"),
        ({"checkpoint_every_epoch_frac": 0.1, "max_steps": 9}, "the length of an epoch"),
    ],
)
def test_what_can_not_be_carried_over_is_named(config, part):
    (why,) = imported(**config).unmapped.values()
    assert part in why


def test_what_holds_anyway_is_not_mentioned():
    result = imported(task_type="CAUSAL_LM", peft_type="LORA", bias="none", inference_mode=True, output_dir="x", r=8)
    assert result.unmapped == {}


def test_precision_is_left_to_the_machine():
    result = imported(bf16=True, torch_dtype="bfloat16")
    assert "bf16" not in result.values
    assert len(result.notes) == 1


def test_the_text_is_a_recipe_without_errors_of_its_own():
    result = imported(
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        data_path="d.jsonl",
        use_qlora=True,
        lora_r=64,
        batch_size=4,
        odd="a\nb",
    )
    text = recipe_text(result, "c.json")
    recipe = build_recipe(parse_yaml(text, "c.yaml"), Path("c.yaml"))
    assert [each for each in check_recipe(recipe, FACTS) if each.severity is Severity.ERROR] == []
    assert "# not carried over: odd" in text
