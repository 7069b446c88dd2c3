"""Rendering: layers, precision, batch, DeepSpeed, checkpoints; and plain recipes left as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.plan.request import Setting
from lfwrap.recipe.recipe import Source, build_recipe, load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy import render as rendering
from lfwrap.strategy.strategy import Strategy
from lfwrap.yaml_files import parse_yaml

FACTS = load_engine_facts()
MODEL = "model_name_or_path: Qwen/Qwen2.5-7B-Instruct\n"
PLAIN = (
    MODEL
    + "template: qwen\nstage: sft\ndo_train: true\ndataset: a\nbf16: true\nlearning_rate: 1e-4\nwarmup_ratio: 0.1\n"
)


def render(text: str, hardware: str = "h100-80gb", *overrides: str, world_size=None, strategy=None, **options):
    recipe = build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"), overrides)
    values = resolve_values(recipe, FACTS, load_hardware(hardware), world_size)
    return rendering.render(values, strategy or Strategy(), output_dir="/run/output", **options)


def sources(rendered):
    return {value.key: value.source for value in rendered.values}


@pytest.mark.parametrize("hardware", ["h100-80gb", "t4", "cpu", "m1-16gb", "8x-h100-80gb"])
def test_a_plain_recipe_is_left_as_it_is(hardware):
    rendered = render(PLAIN, hardware, dataset_dir="/data")
    given = parse_yaml(PLAIN, "r.yaml").values
    assert rendered.engine == {**given, "output_dir": "/run/output", "dataset_dir": "/data"}
    assert rendered.deepspeed is None


def test_the_yaml_reads_alike_in_every_reader():
    text = render(PLAIN + "save_strategy: 'no'\nrun_name: '007'\n").engine_yaml
    assert yaml.safe_load(text) == parse_yaml(text, "e.yaml").values
    assert yaml.safe_load(text)["learning_rate"] == 1e-4
    assert yaml.safe_load(text)["save_strategy"] == "no"


def test_the_block_and_its_keys_never_reach_the_engine():
    rendered = render(MODEL + "lfwrap: {effective_batch_size: 8, speed: auto, hardware: t4}")
    assert set(rendered.engine) <= set(FACTS.keys)


def test_layers_from_weak_to_strong():
    text = MODEL + "learning_rate: 1e-4\nlora_rank: 16\nlfwrap: {}\n"
    rendered = render(
        text,
        "h100-80gb",
        "lora_rank=32",
        strategy=Strategy(
            settings={
                "packing": Setting(True, "shorter"),
                "learning_rate": Setting(9.0, "a plan does not touch what is written"),
            }
        ),
        run_values={"logging_steps": Setting(1, "progress")},
    )
    assert rendered.engine["learning_rate"] == 1e-4
    assert sources(rendered) == {
        "model_name_or_path": Source.RECIPE,
        "stage": Source.TEMPLATE,
        "do_train": Source.TEMPLATE,
        "template": Source.TEMPLATE,
        "bf16": Source.HARDWARE,
        "packing": Source.PLAN,
        "learning_rate": Source.RECIPE,
        "lora_rank": Source.COMMAND_LINE,
        "logging_steps": Source.RUN,
        "output_dir": Source.RUN,
    }
    assert all(value.reason for value in rendered.values if value.source not in {Source.RECIPE, Source.COMMAND_LINE})


@pytest.mark.parametrize(
    ("written", "compiled"),
    [
        ("", False),
        ("torch_compile: true\n", True),
        (
            "torch_compile: true\ntorch_compile_mode: default\n",
            False,
        ),  # the trainer's own way, with what was said of it
        ("torch_compile: true\nfsdp: full_shard\n", False),
        ("torch_compile: false\n", False),
    ],
)
def test_who_compiles(written, compiled):
    assert render(MODEL + written + "lfwrap: {}\n").compiled is compiled


def test_what_a_plan_compiles_does_not_stand_in_the_engines_yaml():
    rendered = render(MODEL + "lfwrap: {}\n", strategy=Strategy(compiles_layers=True))
    assert rendered.compiled
    assert "torch_compile" not in rendered.engine


def test_the_template_comes_from_the_engines_map():
    assert render(MODEL + "lfwrap: {}").engine["template"] == "qwen"
    assert "template" not in render("model_name_or_path: /my/model\nlfwrap: {}").engine


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        ("h100-80gb", {"bf16": True}),
        ("rtx-3090", {"bf16": True}),
        ("t4", {"fp16": True}),
        ("v100-16gb", {"fp16": True}),
        ("rtx-2080-ti", {"fp16": True}),
        ("m1-16gb", {}),
        ("cpu", {"use_cpu": True}),
    ],
)
def test_precision_follows_the_machine(hardware, expected):
    engine = render(MODEL + "lfwrap: {}", hardware).engine
    assert {key: engine[key] for key in ("bf16", "fp16", "use_cpu") if key in engine} == expected


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        ("t4", {"bf16": False, "fp16": True}),
        ("cpu", {"bf16": False, "use_cpu": True}),
        ("m1-16gb", {"bf16": False}),
        ("h100-80gb", {"bf16": True}),
    ],
)
def test_a_precision_that_the_machine_lacks_is_replaced_and_said(hardware, expected):
    rendered = render(MODEL + "bf16: true\nlfwrap: {}", hardware)
    engine = rendered.engine
    assert {key: engine[key] for key in ("bf16", "fp16", "use_cpu") if key in engine} == expected
    assert any("bf16: False instead of True" in note for note in rendered.notes) is (hardware != "h100-80gb")


def test_a_chosen_fp16_stays():
    assert render(MODEL + "fp16: true\nlfwrap: {}").engine.get("bf16") is None


@pytest.mark.parametrize(
    ("hardware", "batch"),
    [
        ("h100-80gb", (16, 8)),
        ("2x-h100-80gb", (16, 4)),
        ("4x-h100-80gb", (16, 2)),
        ("8x-h100-80gb", (16, 1)),
        ("16x-h100-80gb", (8, 1)),
    ],
)
def test_the_effective_batch_is_kept(hardware, batch):
    rendered = render(MODEL + "lfwrap: {effective_batch_size: 128}", hardware)
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    assert tuple(rendered.engine[key] for key in keys) == batch
    assert rendered.batch is not None
    assert rendered.batch.effective == 128


def planned(micro_batch, accumulation):
    numbers = {"per_device_train_batch_size": micro_batch, "gradient_accumulation_steps": accumulation}
    return {key: Setting(number, "fits") for key, number in numbers.items()}


@pytest.mark.parametrize(
    ("text", "overrides", "plan", "batch"),
    [
        ("per_device_train_batch_size: 4\nlfwrap: {effective_batch_size: 128}", (), {}, (4, 16)),
        (
            "per_device_train_batch_size: 4\ngradient_accumulation_steps: 8\nlfwrap: {effective_batch_size: 128}",
            (),
            {},
            (4, 16),
        ),
        ("lfwrap: {effective_batch_size: 128, max_micro_batch: 2}", (), {}, (2, 32)),
        ("lfwrap: {effective_batch_size: 128}", ("gradient_accumulation_steps=32",), {}, (2, 32)),
        ("lfwrap: {effective_batch_size: 128}", ("per_device_train_batch_size=32",), {}, (32, 2)),
        ("lfwrap: {effective_batch_size: 128}", (), planned(1, 64), (1, 64)),
        ("per_device_train_batch_size: 8\nlfwrap: {effective_batch_size: 128}", (), planned(4, 16), (4, 16)),
        ("per_device_train_batch_size: 3\nlfwrap: {effective_batch_size: 128}", (), {}, (2, 32)),
    ],
)
def test_who_decides_the_micro_batch(text, overrides, plan, batch):
    rendered = render(MODEL + text, "2x-h100-80gb", *overrides, strategy=Strategy(settings=plan))
    assert rendered.batch is not None
    assert (rendered.batch.micro_batch, rendered.batch.accumulation) == batch
    assert rendered.batch.effective == 128


def test_the_plans_batch_comes_from_the_plan_and_what_it_replaces_is_said():
    text = MODEL + "per_device_train_batch_size: 16\nlfwrap: {effective_batch_size: 128}"
    rendered = render(text, "h100-80gb", strategy=Strategy(settings=planned(4, 32)))
    batch = {value.key: value for value in rendered.values if value.source is Source.PLAN}
    assert {key: value.value for key, value in batch.items()} == {key: n for key, (n, _) in planned(4, 32).items()}
    assert rendered.notes == ("per_device_train_batch_size: 4 instead of 16. fits",)


def test_an_accumulation_that_gave_way_is_said():
    text = MODEL + "gradient_accumulation_steps: 8\nlfwrap: {effective_batch_size: 128}"
    (note,) = render(text, "4x-h100-80gb").notes
    assert note.startswith("gradient_accumulation_steps: 2 instead of 8.")


def test_an_impossible_batch_names_what_is_possible():
    with pytest.raises(PlanError) as caught:
        render(MODEL + "lfwrap: {effective_batch_size: 128}", "3x-h100-80gb")
    assert "126 (14 × 3 × 3), 129" in caught.value.hint
    with pytest.raises(PlanError, match="micro-batch 12"):
        render(MODEL + "lfwrap: {effective_batch_size: 128}", "h100-80gb", "per_device_train_batch_size=12")


def test_world_size_can_be_smaller_than_the_machine():
    rendered = render(MODEL + "lfwrap: {effective_batch_size: 128}", "8x-h100-80gb", world_size=2)
    assert (rendered.world_size, str(rendered.batch)) == (2, "16 × 4 × 2 = 128")


def test_batch_of_a_plain_recipe_is_its_own():
    assert str(render(PLAIN, "2x-h100-80gb").batch) == "8 × 1 × 2 = 16"
    assert render("per_device_train_batch_size: many").batch is None


@pytest.mark.parametrize(
    ("stage", "hardware", "rendered_stage"),
    [
        (0, "h100-80gb", None),
        (0, "2x-h100-80gb", 0),
        (0, "2x-t4", None),
        (2, "h100-80gb", 2),
        (3, "8x-h100-80gb", 3),
        (2, "m1-16gb", None),
        (0, "cpu", None),
    ],
)
def test_when_deepspeed_is_rendered(stage, hardware, rendered_stage):
    rendered = render(MODEL + f"lfwrap: {{zero_stage: {stage}}}", hardware, deepspeed_path="/run/ds.json")
    if rendered_stage is None:
        assert rendered.deepspeed is None
        assert "deepspeed" not in rendered.engine
    else:
        assert rendered.deepspeed is not None
        assert rendered.deepspeed["zero_optimization"]["stage"] == rendered_stage
        assert rendered.engine["deepspeed"] == "/run/ds.json"
        assert "FORCE_TORCHRUN=1" in rendered.engine_yaml


def test_zero_0_computes_in_16_bit_without_deepspeeds_optimizer_wrapper():
    """With `bf16.enabled` DeepSpeed's wrapper takes an AdamW step of its own first: see the template."""
    config = render(MODEL + "lfwrap: {zero_stage: 0}", "2x-h100-80gb").deepspeed
    assert config is not None
    assert config["bf16"] == {}
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}
    assert "fp16" not in config


def test_a_stage_0_without_deepspeed_is_said():
    assert any("without DeepSpeed" in note for note in render(MODEL + "lfwrap: {zero_stage: 0}").notes)
    assert render(MODEL + "lfwrap: {zero_stage: 0}", "2x-h100-80gb").notes == ()


@pytest.mark.parametrize(("stage", "keys"), [(2, {"offload_optimizer"}), (3, {"offload_optimizer", "offload_param"})])
def test_offload(stage, keys):
    offloaded = render(MODEL + f"lfwrap: {{zero_stage: {stage}, offload: true}}").deepspeed
    kept = render(MODEL + f"lfwrap: {{zero_stage: {stage}}}").deepspeed
    assert offloaded is not None
    assert kept is not None
    assert keys <= set(offloaded["zero_optimization"])
    assert not keys & set(kept["zero_optimization"])


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("num_train_epochs: 3", {"save_strategy": "steps", "save_steps": 0.033333}),
        ("num_train_epochs: 1.0", {"save_strategy": "steps", "save_steps": 0.1}),
        (
            "num_train_epochs: 2\nval_size: 0.1",
            {"save_strategy": "steps", "save_steps": 0.05, "eval_strategy": "steps", "eval_steps": 0.05},
        ),
    ],
)
def test_checkpoints_each_part_of_an_epoch(extra, expected):
    engine = render(MODEL + extra + "\nlfwrap: {checkpoint_every_epoch_frac: 0.1}").engine
    assert {key: engine[key] for key in engine if key.startswith(("save_", "eval_"))} == expected


def test_a_whole_epoch_is_the_engines_own_strategy():
    engine = render(MODEL + "num_train_epochs: 1\nlfwrap: {checkpoint_every_epoch_frac: 1.0}").engine
    assert engine["save_strategy"] == "epoch"
    assert "save_steps" not in engine


def test_the_papers_recipe_says_what_the_paper_says():
    values = resolve_values(load_recipe("recipes/paper.yaml", environ={}), FACTS, load_hardware("h100-80gb"))
    rendered = rendering.render(values, Strategy(), output_dir="/o")
    paper = {
        "model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
        "finetuning_type": "lora",
        "lora_rank": 64,
        "lora_alpha": 128,
        "lora_dropout": 0.1,
        "lora_target": "all",
        "learning_rate": 2e-4,
        "optim": "adamw_torch",
        "num_train_epochs": 1.0,
        "cutoff_len": 4096,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "template": "qwen",
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 8,
    }
    assert {key: rendered.engine[key] for key in paper} == paper
