"""Each peer's command line, after the Python that runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from .rows import Rows
from .setting import Setting, split_batch
from .torchtune_config import torchtune_config

INSIDE = Path(__file__).resolve().parent / "inside"
LARGEST_MICRO_BATCH = 16
_TIMED = str(INSIDE / "timed_trainer.py")
_ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a peer.

    Attributes:
        setting: the training.
        rows: its rows.
        scratch: a folder of its own.
        result: the file that the run writes.
        versions: of the peer, and of what it stands on.
    """

    setting: Setting
    rows: Rows
    scratch: Path
    result: Path
    versions: Mapping[str, str]


def trl_command(job: Job) -> list[str]:
    """TRL's SFT command, timed."""
    setting, (micro, accumulation) = job.setting, split_batch(job.setting.rows_per_update, LARGEST_MICRO_BATCH)
    options: dict[str, object] = {
        "model_name_or_path": setting.model,
        "dtype": setting.dtype,
        "dataset_name": job.rows.folder,
        "completion_only_loss": True,
        "max_length": setting.cutoff_tokens,
        "lora_r": setting.rank,
        "lora_alpha": setting.alpha,
        "lora_dropout": setting.dropout,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        **({"train_sampling_strategy": "group_by_length"} if _is_five(job) else {"group_by_length": True}),
        "use_liger_kernel": not setting.on_cpu,
        "bf16": setting.dtype == "bfloat16",
        "fp16": setting.dtype == "float16",
        "use_cpu": setting.on_cpu,
        "learning_rate": setting.learning_rate,
        **_course(job),
        "output_dir": job.scratch / "out",
    }
    targets = ["all-linear"] if setting.targets == ("all",) else list(setting.targets)
    words = [word for key, value in options.items() for word in (f"--{key}", _word(value))]
    return [
        _TIMED,
        "--result",
        str(job.result),
        "trl.scripts.sft",
        "--use_peft",
        "--lora_target_modules",
        *targets,
        *words,
    ]


def unsloth_command(job: Job) -> list[str]:
    """Unsloth's model in TRL's trainer, timed. Writes its setting."""
    setting, (micro, accumulation) = job.setting, split_batch(job.setting.rows_per_update, LARGEST_MICRO_BATCH)
    written = {
        "model": setting.model,
        "rows": str(job.rows.folder / "train.jsonl"),
        "max_length": setting.cutoff_tokens,
        "dtype": setting.dtype,
        "adapter": {
            "r": setting.rank,
            "lora_alpha": setting.alpha,
            "lora_dropout": setting.dropout,
            "target_modules": _ALL_LINEAR if setting.targets == ("all",) else list(setting.targets),
            "random_state": setting.seed,
        },
        "training": {
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": accumulation,
            "bf16": setting.dtype == "bfloat16",
            "fp16": setting.dtype == "float16",
            "learning_rate": setting.learning_rate,
            **_course(job),
            "dataset_num_proc": 1,
            "output_dir": str(job.scratch / "out"),
        },
    }
    file = job.scratch / "setting.json"
    file.write_text(json.dumps(written), encoding="utf-8")
    return [_TIMED, "--result", str(job.result), "--first", "unsloth", str(INSIDE / "unsloth_sft.py"), str(file)]


def torchtune_command(job: Job) -> list[str]:
    """The recipe of torchtune for one device. Writes its YAML file. Raises ValueError where it can't train this."""
    file = job.scratch / "config.yaml"
    found = torchtune_config(job.setting, job.rows, job.scratch / "out", job.result)
    file.write_text(yaml.safe_dump(found, sort_keys=False), encoding="utf-8")
    return [str(INSIDE / "torchtune_recipe.py"), "--config", str(file)]


COMMANDS: dict[str, Callable[[Job], list[str]]] = {
    "trl": trl_command,
    "unsloth": unsloth_command,
    "torchtune": torchtune_command,
}


def _course(job: Job) -> dict[str, object]:
    """What Trainer is told of its course. Before version 5 a part of all updates had a name of its own."""
    setting = job.setting
    warmup = "warmup_steps" if _is_five(job) or setting.warmup >= 1 else "warmup_ratio"
    return {
        "lr_scheduler_type": setting.scheduler,
        warmup: setting.warmup if setting.warmup < 1 else int(setting.warmup),
        "seed": setting.seed,
        "max_steps": setting.updates,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
    }


def _is_five(job: Job) -> bool:
    """TRL's parser passes over what it does not know: a name of another version would be lost."""
    return int(job.versions.get("transformers", "5").split(".")[0]) >= 5


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
