"""The YAML file of torchtune's LoRA recipe for one device."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .rows import Rows
from .setting import Setting

PACK_TOKENS = 2048
_LARGEST_MICRO_BATCH = 4  # packs
_BUILDERS = {"qwen2": ("torchtune.models.qwen2.lora_qwen2", "QWEN2"),
             "llama": ("torchtune.models.llama3.lora_llama3", "LLAMA3")}  # fmt: skip
_ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj"}
_MLP = {"gate_proj", "up_proj", "down_proj"}


def torchtune_config(setting: Setting, rows: Rows, scratch: Path, result: Path) -> dict[str, Any]:
    """The file that `tune run lora_finetune_single_device --config FILE` takes.

    Args:
        setting: the training; its model is a folder.
        rows: its rows.
        scratch: a folder.
        result: where the log goes.

    Raises:
        ValueError: torchtune has no such model, can't adapt just these layers, or the rows are too few for an update.
    """
    folder = Path(setting.model)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {
        "model": _model(setting, facts),
        "tokenizer": {"_component_": "torchtune_parts.make_tokenizer", "pad_id": _pad_id(facts)},
        "checkpointer": {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": str(folder),
            "checkpoint_files": sorted(file.name for file in folder.glob("*.safetensors")),
            "recipe_checkpoint": None,
            "output_dir": str(scratch),
            "model_type": _builder(facts)[1],
        },
        **_course(setting, rows),
        **_computing(setting),
        "output_dir": str(scratch),
        "metric_logger": {
            "_component_": "torchtune_parts.ResultLogger",
            "file": str(result),
            "updates": setting.updates,
            "rows": len(rows.lengths),
        },
    }


def _course(setting: Setting, rows: Rows) -> dict[str, Any]:
    """Packs, how many of them an update takes, and for how long.

    Raises:
        ValueError: the rows are too few for an update.
    """
    pack = min(setting.cutoff_tokens, max(PACK_TOKENS, *rows.lengths))
    packs = max(1, round(setting.rows_per_update * rows.packs(pack) / len(rows.lengths)))
    micro = min(_LARGEST_MICRO_BATCH, packs)
    accumulation = max(1, round(packs / micro))
    updates_per_epoch = rows.packs(pack) // micro // accumulation
    if not updates_per_epoch:
        raise ValueError(
            f"{rows.packs(pack)} packs of {pack} tokens are fewer than the {micro * accumulation} of an update"
        )
    return {
        "dataset": {
            "_component_": "torchtune_parts.token_rows",
            "file": str(rows.folder / "train.jsonl"),
            "pack_tokens": pack,
            "packed": True,
        },
        "shuffle": True,
        "seed": setting.seed,
        "batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "epochs": math.ceil(setting.updates / updates_per_epoch),
        "max_steps_per_epoch": setting.updates,
    }


def _computing(setting: Setting) -> dict[str, Any]:
    """Optimizer, number format and device; activations are kept, as they are in `speed: auto`."""
    return {
        "resume_from_checkpoint": False,
        "save_adapter_weights_only": True,
        "optimizer": {
            "_component_": "torch.optim.AdamW",
            "fused": not setting.on_cpu,
            "weight_decay": 0.0,
            "lr": setting.learning_rate,
        },
        "lr_scheduler": {
            "_component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
            "num_warmup_steps": 1,
        },
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "clip_grad_norm": None,
        "compile": False,
        "log_every_n_steps": 1,
        "log_peak_memory_stats": not setting.on_cpu,
        "log_level": "INFO",
        "device": "cpu" if setting.on_cpu else "cuda",
        "dtype": {"bfloat16": "bf16", "float16": "fp16"}.get(setting.dtype, "fp32"),
        "enable_activation_checkpointing": False,
        "enable_activation_offloading": False,
        "profiler": {"_component_": "torchtune.training.setup_torch_profiler", "enabled": False},
    }


def _builder(facts: Mapping[str, Any]) -> tuple[str, str]:
    family = str(facts.get("model_type"))
    tied = family == "llama" and facts.get("tie_word_embeddings", False)
    scaled = (_rope(facts).get("rope_type") or "default") != "default"
    if family not in _BUILDERS or tied or scaled:
        raise ValueError(f"torchtune is set up for Qwen2 and plain Llama, not for this {family} model")
    return _BUILDERS[family]


def _rope(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Transformers 5 puts the base and the scaling together."""
    return {
        "rope_theta": facts.get("rope_theta"),
        **(facts.get("rope_scaling") or {}),
        **(facts.get("rope_parameters") or {}),
    }


def _pad_id(facts: Mapping[str, Any]) -> int:
    """What fills packs up; it has no label, so that any token will do."""
    return int(facts.get("pad_token_id") or 0)


def _model(setting: Setting, facts: Mapping[str, Any]) -> dict[str, Any]:
    targets = {*_ATTENTION, *_MLP} if setting.targets == ("all",) else set(setting.targets)
    unknown = sorted(targets - _ATTENTION.keys() - _MLP)
    if unknown or (targets & _MLP and not targets >= _MLP) or not targets & _ATTENTION.keys():
        raise ValueError(f"torchtune adapts attention, and all of the MLP or none, not {', '.join(sorted(targets))}")
    model = {
        "_component_": _builder(facts)[0],
        "lora_attn_modules": [theirs for ours, theirs in _ATTENTION.items() if ours in targets],
        "apply_lora_to_mlp": targets >= _MLP,
        "lora_rank": setting.rank,
        "lora_alpha": setting.alpha,
        "lora_dropout": setting.dropout,
        "vocab_size": facts["vocab_size"],
        "num_layers": facts["num_hidden_layers"],
        "num_heads": facts["num_attention_heads"],
        "num_kv_heads": facts.get("num_key_value_heads") or facts["num_attention_heads"],
        "embed_dim": facts["hidden_size"],
        "intermediate_dim": facts["intermediate_size"],
        "max_seq_len": facts["max_position_embeddings"],
        "norm_eps": facts["rms_norm_eps"],
        "rope_base": int(_rope(facts).get("rope_theta") or 10_000),
    }
    if facts.get("tie_word_embeddings"):
        model["tie_word_embeddings"] = True
    return model
