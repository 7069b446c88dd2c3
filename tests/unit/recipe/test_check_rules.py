"""Each thing that can be wrong in a recipe, with lfwrap's own message, place and remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import RecipeError, Severity
from lfwrap.hardware.load import load_hardware
from lfwrap.recipe import rules
from lfwrap.recipe.check import check_recipe, require_valid
from lfwrap.recipe.library import bundled_recipes
from lfwrap.recipe.recipe import build_recipe
from lfwrap.yaml_files import parse_yaml

FACTS = load_engine_facts()
BASE = {
    "model_name_or_path": "Qwen/Qwen2.5-7B-Instruct",
    "template": "qwen",
    "do_train": "true",
    "finetuning_type": "lora",
    "dataset": "animals_zh",
}


def check(lines: dict | str, hardware: str | None = None, overrides: tuple[str, ...] = ()):
    """Findings of BASE with these lines on top; a None value takes a line away."""
    if isinstance(lines, dict):
        merged = {**BASE, **lines}
        lines = "".join(f"{key}: {value}\n" for key, value in merged.items() if value is not None)
    recipe = build_recipe(parse_yaml(lines, "r.yaml"), Path("r.yaml"), overrides)
    return check_recipe(recipe, FACTS, load_hardware(hardware) if hardware else None)


def by_rule(findings):
    return {finding.rule: finding for finding in findings}


def test_the_base_is_fine():
    assert check({}) == []


# (lines, rule, part of the message, part of the hint, severity)
ERRORS = [
    ({"lora_rnak": "8"}, "unknown-key", "lora_rnak: unknown key", "Did you mean 'lora_rank'?"),
    ({"evaluation_strategy": "steps"}, "unknown-key", "evaluation_strategy", "'eval_strategy'"),
    ({"max_seq_length": "512"}, "unknown-key", "max_seq_length", "'cutoff_len'"),
    ({"effective_batch_size": "128"}, "unknown-key", "effective_batch_size", "belongs in the lfwrap: block"),
    ({"zzzzzzzz": "1"}, "unknown-key", "zzzzzzzz", "lists all keys"),
    ({"lora_rank": "abc"}, "wrong-type", "lora_rank: text 'abc', expected int", "For example 8"),
    ({"lora_rank": '"8"'}, "wrong-type", "lora_rank: text '8', expected int", "Write 8, without quotes"),
    ({"lora_rank": "8.0"}, "wrong-type", "lora_rank: number 8.0", "Write 8."),
    ({"lora_rank": "true"}, "wrong-type", "lora_rank: truth value true", ""),
    ({"learning_rate": '"1e-4"'}, "wrong-type", "learning_rate: text '1e-4'", "Write 0.0001, without quotes"),
    ({"learning_rate": '"1e-5"'}, "wrong-type", "learning_rate: text '1e-5'", "Write 1.0e-05, without quotes"),
    ({"learning_rate": ""}, "wrong-type", "learning_rate: empty", "5.0e-05"),
    ({"learning_rate": ".nan"}, "wrong-type", "not a finite number", "finite"),
    ({"save_strategy": "no"}, "wrong-type", "save_strategy: truth value false", 'Write "no", with its quotes'),
    ({"bf16": '"yes"'}, "wrong-type", "bf16: text 'yes'", "Write true, without quotes"),
    ({"run_name": "2024"}, "wrong-type", "run_name: number 2024", "Quote it: '2024'"),
    ({"model_name_or_path": "[a, b]"}, "wrong-type", "list", "Write one text with commas: a,b"),
    ({"optim": "adamw_torhc"}, "bad-choice", "'adamw_torhc'", "Did you mean 'adamw_torch'?"),
    ({"stage": "sftt"}, "bad-choice", "'sftt'", "Did you mean 'sft'?"),
    ({"lr_scheduler_type": "zigzag"}, "bad-choice", "'zigzag'", "It takes linear, cosine"),
    ({"template": "qwenn"}, "unknown-template", "'qwenn' does not exist", "Did you mean 'qwen'?"),
    ({"template": "qwen25"}, "unknown-template", "'qwen25'", "Did you mean 'qwen'?"),
    ({"model_name_or_path": None, "template": None}, "model-missing", "no model is named", "MODEL_PATH"),
    ({"dataset": None}, "dataset-missing", "no data set is named", "prepare-data"),
    ({"dataset": "./rows.jsonl"}, "dataset-is-path", "'./rows.jsonl' is a path", "lfwrap prepare-data ./rows.jsonl"),
    ({"finetuning_type": "full", "quantization_bit": "4"}, "quantized-full", "finetuning_type: full", "QLoRA"),
    ({"quantization_bit": "3"}, "quantization-bits", "bnb does not take 3", "4, 8"),
    ({"quantization_bit": "4", "pissa_init": "true"}, "quantized-incompatible", "pissa_init", "Leave it out"),
    ({"quantization_bit": "8", "deepspeed": "ds_z3_config.json"}, "zero3-quantized", "ZeRO-3", "zero_stage: 0 or 2"),
    ({"quantization_bit": "4", "lfwrap": "{zero_stage: 3}"}, "zero3-quantized", "ZeRO-3", "zero_stage: 0 or 2"),
    ({"finetuning_type": "full", "use_dora": "true"}, "lora-only", "use_dora", "train by LoRA"),
    ({"use_galore": "true"}, "galore-lora", "use_galore", "finetuning_type: full"),
    ({"finetuning_type": "full", "use_galore": "true", "use_badam": "true"}, "galore-twice", "use_badam", "one"),
    ({"finetuning_type": "full", "use_llama_pro": "true"}, "llama-pro-full", "use_llama_pro", "freeze"),
    ({"pure_bf16": "true", "lfwrap": "{zero_stage: 3}"}, "zero3-incompatible", "pure_bf16", "zero_stage: 2"),
    ({"stage": "ppo"}, "reward-model-missing", "PPO", "reward_model"),
    ({"stage": "dpo", "neat_packing": "true"}, "sft-only", "neat_packing", "Leave it out"),
    ({"val_size": "0.1", "eval_dataset": "law", "eval_strategy": "epoch"}, "two-evaluation-sets", "val_size", "one"),
    ({"interleave_probs": "0.5,0.5"}, "probabilities-unused", "interleave_probs", "interleave_under"),
    (
        {"dataset": "a,b", "mix_strategy": "interleave_under", "interleave_probs": "[0.5]"},
        "probabilities-count",
        "1 for 2",
        "one for each",
    ),
    (
        {"dataset": "a,b", "mix_strategy": "interleave_under", "interleave_probs": "half,half"},
        "probabilities-count",
        "not all of them are numbers",
        "0.7,0.3",
    ),
    (
        {"stage": "dpo", "pref_loss": "ipo", "dpo_label_smoothing": "0.1"},
        "dpo-smoothing",
        "dpo_label_smoothing",
        "Leave it out",
    ),
    ({"stage": "rm", "load_best_model_at_end": "true"}, "stage-load-best", "stage rm", "Leave it out"),
    (
        {"finetuning_type": "full", "use_galore": "true", "lfwrap": "{zero_stage: 2}"},
        "galore-deepspeed",
        "use_galore",
        "DeepSpeed",
    ),
    (
        {"do_predict": "true", "predict_with_generate": "true", "compute_accuracy": "true", "eval_dataset": "law"},
        "predict-accuracy",
        "compute_accuracy",
        "one",
    ),
    ({"streaming": "true"}, "streaming-steps", "no epochs", "max_steps"),
    ({"streaming": "true", "max_steps": "9", "max_samples": "5"}, "streaming-samples", "max_samples", "max_steps"),
    ({"streaming": "true", "max_steps": "9", "val_size": "0.1"}, "streaming-split", "val_size", "number of rows"),
    ({"mask_history": "true", "train_on_prompt": "true"}, "masks-conflict", "mask_history", "one"),
    ({"learning_rate": "0"}, "out-of-range", "learning_rate: 0", "more than 0"),
    ({"lora_dropout": "1.5"}, "out-of-range", "lora_dropout: 1.5", "at most 1"),
    ({"num_train_epochs": "-1"}, "out-of-range", "num_train_epochs", "more than 0"),
    ({"eval_strategy": "steps"}, "eval-without-split", "eval_strategy: there is nothing", "val_size: 0.1"),
    ({"do_eval": "true"}, "eval-without-split", "do_eval", "eval_dataset"),
    (
        {"load_best_model_at_end": "true", "val_size": "0.1", "eval_strategy": "epoch"},
        "best-strategies",
        "saves by steps and evaluates by epoch",
        "the same",
    ),
    (
        {
            "load_best_model_at_end": "true",
            "val_size": "0.1",
            "eval_strategy": "steps",
            "save_steps": "5",
            "eval_steps": "2",
        },
        "best-steps",
        "save_steps: 5",
        "multiple",
    ),
    ({"do_predict": "true", "eval_dataset": "law"}, "predict-generates", "do_predict", "predict_with_generate"),
    ({"bf16": "true", "fp16": "true"}, "two-precisions", "fp16", "bf16"),
    ({"deepspeed": "a.json", "lfwrap": "{zero_stage: 2}"}, "two-deepspeed", "deepspeed", "one"),
    ({"deepspeed": "a.json", "fsdp": "full_shard"}, "deepspeed-and-fsdp", "fsdp", "one"),
    ({"lfwrap": "{offload: true}"}, "offload-without-zero", "offload", "zero_stage: 2"),
    ({"max_steps": "9", "lfwrap": "{checkpoint_every_epoch_frac: 0.1}"}, "frac-and-steps", "max_steps", "save_steps"),
    ({"lfwrap": "{efective_batch_size: 8}"}, "unknown-key", "lfwrap.efective_batch_size", "effective_batch_size"),
    ({"lfwrap": "{effective_batch_size: many}"}, "wrong-type", "lfwrap.effective_batch_size: str 'many'", ""),
    ({"lfwrap": "{effective_batch_size: 0}"}, "out-of-range", "lfwrap.effective_batch_size: 0", ""),
    ({"lfwrap": "{zero_stage: 1}"}, "bad-choice", "lfwrap.zero_stage: 1 is not one of 0, 2, 3", ""),
    ({"lfwrap": "{hardware: h100-80gbb}"}, "unknown-hardware", "'h100-80gbb' is not a known machine", "h100-80gb"),
    ({"lfwrap": '{hardware: "a\\0b"}'}, "unknown-hardware", "is no", ""),
    ({"lfwrap": "8"}, "wrong-type", "lfwrap: expected `key: value` lines", "effective_batch_size"),
]
WARNINGS = [
    ({"template": None}, "template-missing", "silently", "Write `template: qwen`"),
    ({"template": "llama3"}, "template-of-model", "'llama3' is not the one", "template: qwen"),
    (
        {"model_name_or_path": "Qwen/Qwen2.5-7B-Instruct-AWQ"},
        "quantized-checkpoint",
        "can't be merged",
        "quantization_bit",
    ),
    ({"trust_remote_code": "true"}, "trust-remote-code", "runs Python code", "Leave it out"),
    ({"hf_hub_token": "abc"}, "secret-in-recipe", "hf_hub_token", "HF_TOKEN"),
    ({"finetuning_type": "full", "lora_rank": "8"}, "lora-unused", "lora_rank", "train by LoRA"),
    ({"use_unsloth": "true", "lora_dropout": "0.1"}, "unsloth-dropout", "fast kernels", "lora_dropout: 0.0"),
    ({"packing": "true"}, "packing-contaminates", "attend to each other", "neat_packing: true"),
    ({"neat_packing": "true", "lfwrap": "{effective_batch_size: 8}"}, "packed-batch", "packs, not rows", "plan"),
    ({"neat_packing": "true", "flash_attn": "disabled"}, "packing-attention", "neat_packing", "sdpa"),
    ({"learning_rate": "0.1"}, "learning-rate-high", "far above", "1.0e-04"),
    ({"do_train": "false"}, "nothing-to-do", "load the model and end", "do_train: true"),
    ({"do_train": None, "dataset": None}, "nothing-to-do", "load the model and end", "do_train: true"),
    ({"max_steps": "10", "num_train_epochs": "3.0"}, "steps-and-epochs", "no effect", "Keep one"),
    ({"val_size": "0.1"}, "split-without-eval", "never evaluated", "eval_strategy: epoch"),
    ({"warmup_ratio": "0.1", "warmup_steps": "5"}, "warmup-twice", "no effect", "Keep one"),
    (
        {"gradient_checkpointing": "true", "disable_gradient_checkpointing": "true"},
        "checkpointing-twice",
        "contradicts",
        "one",
    ),
    ({"overwrite_output_dir": "true"}, "overwrite-output-dir", "checkpoint-*", "new folder"),
    ({"export_dir": "merged"}, "export-key", "no effect", "lfwrap export"),
]


@pytest.mark.parametrize(
    ("lines", "rule", "message", "hint"), ERRORS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_errors(lines, rule, message, hint):
    finding = by_rule(check(lines))[rule]
    assert finding.severity is Severity.ERROR
    assert message in finding.message
    assert hint in finding.hint


@pytest.mark.parametrize(
    ("lines", "rule", "message", "hint"), WARNINGS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_warnings(lines, rule, message, hint):
    findings = check(lines)
    finding = by_rule(findings)[rule]
    assert finding.severity is Severity.WARNING
    assert message in finding.message
    assert hint in finding.hint
    assert not [each for each in findings if each.severity is Severity.ERROR]


@pytest.mark.parametrize(
    ("lines", "hardware", "rule", "hint"),
    [
        ({"bf16": "true"}, "t4", "bf16-without-hardware", "fp16: true"),
        ({"bf16": "true"}, "cpu", "bf16-without-hardware", "use_cpu: true"),
        ({"fp16": "true"}, "cpu", "bf16-without-hardware", "use_cpu: true"),
        ({"quantization_bit": "4"}, "m1-16gb", "quantization-hardware", "smaller model"),
        ({"enable_liger_kernel": "true"}, "cpu", "kernel-hardware", "Leave it out"),
        ({"flash_attn": "fa2"}, "t4", "kernel-hardware", "sdpa"),
    ],
)
def test_machine(lines, hardware, rule, hint):
    assert hint in by_rule(check(lines, hardware))[rule].hint
    assert rule not in by_rule(check(lines))
    assert rule not in by_rule(check(lines, "h100-80gb"))


def test_data_without_a_task_are_trained_on_and_that_is_said():
    (finding,) = check({"do_train": None})
    assert (finding.severity, finding.rule) == (Severity.INFO, "do-train-added")
    assert "`lfwrap train` trains all the same" in finding.message
    assert check({"do_train": None, "lfwrap": "{}"}) == []


def test_a_block_lets_lfwrap_adapt_the_precision():
    assert check({"bf16": "true", "lfwrap": "{}"}, "t4") == []


def test_all_at_once_in_the_order_of_the_file_with_places():
    text = 'model_name_or_path: m\ntemplate: qwenn\nlora_rnak: 8\nlearning_rate: "1e-4"\nlfwrap:\n  zero_stag: 0\n'
    places = [
        (each.rule, each.line, each.column) for each in check(text) if each.severity is Severity.ERROR and each.line
    ]
    assert places == [
        ("unknown-template", 2, 1),
        ("unknown-key", 3, 1),
        ("wrong-type", 4, 16),
        ("unknown-key", 6, 3),
    ]


def test_a_finding_reads_like_a_compiler_message():
    (finding,) = check({"lora_rnak": "8"})
    assert str(finding) == "r.yaml:6:1  lora_rnak: unknown key. Did you mean 'lora_rank'?"


def test_overrides_are_checked_and_placed_on_the_command_line():
    findings = check({}, overrides=("lora_rank=abc", "lfwrap.zero_stage=7"))
    assert {(each.rule, each.file) for each in findings} == {
        ("wrong-type", "command line"),
        ("bad-choice", "command line"),
    }


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("save_strategy=off", "Write save_strategy=no."),
        ("eval_strategy=false", "Write eval_strategy=no."),
        ("eval_strategy=yes", "It takes no, steps, epoch."),
        ("run_name=2024", "Quote it: \"run_name='2024'\"."),
    ],
)
def test_the_hint_for_an_override_works_when_it_is_typed(override, hint):
    (finding,) = check({}, overrides=(override,))
    assert finding.hint == hint
    typed = re.search(r"\w+=no|\"[^\"]+\"", hint)
    assert typed is None or check({}, overrides=(typed[0].strip('"'),)) == []


@pytest.mark.parametrize(
    "lines",
    [
        {"lora_target": "[q_proj, v_proj]"},
        {"learning_rate": "1e-4"},
        {"learning_rate": "1"},
        {"bf16": "yes"},
        {"warmup_steps": "0.1"},
        {"save_strategy": '"no"'},
        {"template": "qwen3_nothink", "model_name_or_path": "Qwen/Qwen3-4B"},
        {"model_name_or_path": "/models/My-Own-Model"},
        {"dataset": "a, b"},
        {"dataset": "org/rows", "dataset_dir": "ONLINE"},
        {"eval_strategy": "epoch", "eval_dataset": "law"},
        {"report_to": "[wandb, tensorboard]"},
    ],
)
def test_what_the_engine_takes_is_left_alone(lines):
    assert [each for each in check(lines) if each.severity is Severity.ERROR and each.rule != "out-of-range"] == []


def test_a_deprecated_key_is_only_mentioned():
    (finding,) = check({"warmup_ratio": "0.1"})
    assert (finding.severity, finding.rule) == (Severity.INFO, "deprecated-key")
    assert "`warmup_steps: 0.1`" in finding.hint


def test_require_valid_carries_everything():
    findings = check({"lora_rnak": "8", "trust_remote_code": "true"})
    recipe = build_recipe(parse_yaml("", "r.yaml"), Path("r.yaml"))
    with pytest.raises(RecipeError) as caught:
        require_valid(recipe, findings)
    assert len(caught.value.findings) == 2
    assert caught.value.message == "1 error in r.yaml"
    warnings = [each for each in findings if each.severity is not Severity.ERROR]
    assert require_valid(recipe, warnings) == warnings


def test_every_rule_name_is_tested():
    """A rule that no row above provokes is a rule that nobody knows to work."""
    folder = Path(rules.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    names = set(re.findall(r'view\.(?:error|warning|info)\(\s*"([a-z0-9-]+)"', source))
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in names if f'"{name}"' not in here} == set()
    assert len(names) > 45


def test_bundled_recipes_have_no_errors():
    entries = list(bundled_recipes())
    for entry in entries:
        hardware = load_hardware(entry.recipe.intent.hardware or "cpu")
        findings = check_recipe(entry.recipe, FACTS, hardware)
        assert [each for each in findings if each.severity is Severity.ERROR] == [], entry.name
    assert len(entries) >= 11
