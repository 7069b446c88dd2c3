"""Conversion of JSON configurations in the style of PEFT and TRL into recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.engine.facts import EngineFacts, KeyFact
from lfwrap.engine.keys import MODEL_KEY
from lfwrap.errors import RecipeError
from lfwrap.recipe.intent import BLOCK, FIELDS, parse_intent
from lfwrap.recipe.keys import has_type
from lfwrap.yaml_files import dump_yaml, parse_scalar

# Names that other tools have for the engine's keys.
_NAMES: dict[str, str] = {
    **dict.fromkeys(
        ("model_name", "model_id", "model", "base_model", "base_model_name_or_path", "pretrained_model_name_or_path"),
        MODEL_KEY,
    ),
    **dict.fromkeys(("r", "lora_r", "rank"), "lora_rank"),
    "alpha": "lora_alpha",
    "dropout": "lora_dropout",
    **dict.fromkeys(
        ("max_seq_length", "max_seq_len", "max_length", "model_max_length", "block_size", "sequence_len"), "cutoff_len"
    ),
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs"), "num_train_epochs"),
    **dict.fromkeys(("batch_size", "micro_batch_size", "train_batch_size"), "per_device_train_batch_size"),
    **dict.fromkeys(("eval_batch_size", "val_batch_size"), "per_device_eval_batch_size"),
    **dict.fromkeys(("grad_accum", "gradient_accumulation", "accumulation_steps"), "gradient_accumulation_steps"),
    **dict.fromkeys(("lr", "max_lr"), "learning_rate"),
    **dict.fromkeys(("lr_scheduler", "scheduler", "scheduler_type"), "lr_scheduler_type"),
    **dict.fromkeys(("optimizer", "optim_type"), "optim"),
    "evaluation_strategy": "eval_strategy",
    "warmup_ratio": "warmup_steps",
    **dict.fromkeys(("val_split", "validation_split", "val_set_size"), "val_size"),
    "bnb_4bit_quant_type": "quantization_type",
    "bnb_4bit_use_double_quant": "double_quantization",
    "bits": "quantization_bit",
    "neftune_alpha": "neftune_noise_alpha",
    "random_state": "seed",
    "early_stopping_patience": "early_stopping_steps",
    "attn_implementation": "flash_attn",
    "use_liger": "enable_liger_kernel",
    "use_liger_kernel": "enable_liger_kernel",
    "system_prompt": "default_system",
}
# Keys of the lfwrap: block by the names that they have elsewhere.
_INTENTS: dict[str, str] = {
    **{each.name: each.name for each in FIELDS},
    **dict.fromkeys(("global_batch_size", "total_batch_size"), "effective_batch_size"),
}
_EPOCH_PART = "checkpoint_every_epoch_frac"
_ATTENTION = {"flash_attention_2": "fa2", "flash_attention_3": "fa3", "sdpa": "sdpa", "eager": "disabled"}
_DATA_KEYS = ("data_path", "dataset_path", "dataset_name", "train_file", "train_data", "data_file", "dataset")
# Keys that state a default, or something that lfwrap decides.
_SILENT = {
    "task_type",
    "peft_type",
    "inference_mode",
    "fan_in_fan_out",
    "output_dir",
    "logging_dir",
    "overwrite_output_dir",
    "use_peft",
    "_name_or_path",
    "auto_mapping",
    "peft_version",
    "do_train",
}
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass
class Imported:
    """The recipe that a configuration was converted into.

    Attributes:
        values: the recipe's keys.
        intent: the keys of its ``lfwrap:`` block.
        unmapped: key → the reason why it was not converted.
        notes: sentences that the person should know.
    """

    values: dict[str, Any] = field(default_factory=dict)
    intent: dict[str, Any] = field(default_factory=dict)
    unmapped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load_config(path: Path) -> dict[str, Any]:
    """Read a configuration, which is a JSON object.

    Raises:
        RecipeError: the file is missing, can't be read, or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: can't be read: {error}", hint="Name a JSON file.") from error
    except json.JSONDecodeError as error:
        place = f"{path}:{error.lineno}:{error.colno}"
        raise RecipeError(f"{place}  not valid JSON: {error.msg}", hint="Correct it there.") from error
    except RecursionError as error:
        raise RecipeError(f"{path}: not usable JSON: nested too deeply", hint="Name another file.") from error
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: expected a JSON object, found {type(value).__name__}.", hint="Name another file.")
    return value


def import_config(config: Mapping[str, Any], facts: EngineFacts) -> Imported:
    """Convert a configuration; keys in nested groups (``lora``, ``training``) count as if they were at the top."""
    imported = Imported({"stage": "sft", "do_train": True, "finetuning_type": "full"})
    for key, value in _flatten(config):
        if value in _EMPTY or key in _SILENT:
            continue
        handler = _HANDLERS.get(key)
        if handler is not None:
            handler(imported, value)
        elif key in _INTENTS:
            _import_intent(imported, key, value)
        elif key in _DATA_KEYS:
            _import_dataset(imported, value)
        else:
            _import_plain(imported, key, value, facts)
    _complete(imported, facts)
    return imported


def recipe_text(imported: Imported, source: str) -> str:
    """The recipe as YAML, with the notes and the keys that were not converted in its header."""
    lines = [f"# Imported from {source}"]
    lines += [f"# {note}" for note in imported.notes]
    lines += [f"# not carried over: {key}: {why}" for key, why in imported.unmapped.items()]
    return "\n".join(re.sub(r"[\r\n]+", " ", line) for line in lines) + "\n\n" + dump_yaml(imported.values)


def _flatten(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """All keys with their values; a mapping under an unknown key is a group."""
    flat: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and key not in {
            "lr_scheduler_kwargs",
            "gradient_checkpointing_kwargs",
            "deepspeed",
        }:
            flat += _flatten(value)
        else:
            flat.append((str(key), value))
    return flat


def _import_plain(imported: Imported, key: str, value: Any, facts: EngineFacts) -> None:
    name = _NAMES.get(key, key)
    fact = facts.keys.get(name)
    if fact is None:
        imported.unmapped[key] = "LLaMA-Factory has no such key."
        return
    value = _ATTENTION.get(str(value), value) if name == "flash_attn" else value
    fitting = _fit(value, fact)
    if fitting is None or (fact.choices and isinstance(fitting, str) and fitting not in fact.choices):
        imported.unmapped[key] = f"{value!r} does not fit {name} ({fact.type})."
    else:
        imported.values[name] = fitting


def _import_intent(imported: Imported, key: str, value: Any) -> None:
    name = _INTENTS[key]
    fitting = parse_scalar(value) if isinstance(value, str) else value
    _, problems = parse_intent({name: fitting})
    if problems:
        imported.unmapped[key] = problems[0].message
    else:
        imported.intent[name] = fitting


def _fit(value: Any, fact: KeyFact) -> Any:
    """The value in a type that the key takes, parsed from text or joined with commas; None if it does not fit."""
    if has_type(value, fact.types):
        return value
    if isinstance(value, str):
        try:
            value = parse_scalar(value)
        except RecipeError:
            return None
    if isinstance(value, float) and value.is_integer() and "int" in fact.types:
        value = int(value)
    if isinstance(value, list) and "str" in fact.types:
        value = ",".join(map(str, value))
    return value if has_type(value, fact.types) else None


def _import_dataset(imported: Imported, value: Any) -> None:
    name = re.sub(r"\W+", "_", Path(str(value)).stem).strip("_") or "data"
    imported.values["dataset"] = name
    imported.notes.append(f"Prepare the data first: lfwrap prepare-data {value} --out data/{name} --name {name}")
    imported.values["dataset_dir"] = f"data/{name}"


def _lora(imported: Imported, value: Any) -> None:
    if value:
        imported.values["finetuning_type"] = "lora"


def _quantized(bits: int) -> Callable[[Imported, Any], None]:
    def handle(imported: Imported, value: Any) -> None:
        """Take loading in so many bits as a LoRA over quantised weights."""
        if value:
            imported.values["finetuning_type"] = "lora"
            imported.values.setdefault("quantization_bit", bits)

    return handle


def _targets(imported: Imported, value: Any) -> None:
    names = value.split(",") if isinstance(value, str) else value
    joined = ",".join(str(name).strip() for name in names) if isinstance(names, list) else "all"
    imported.values["lora_target"] = "all" if joined in {"all-linear", "all"} else joined
    imported.values["finetuning_type"] = "lora"


def _saved_modules(imported: Imported, value: Any) -> None:
    imported.values["additional_target"] = value if isinstance(value, str) else ",".join(map(str, value))


def _bias(imported: Imported, value: Any) -> None:
    if value != "none":
        imported.unmapped["bias"] = "LLaMA-Factory trains no biases with LoRA."


def _initial_weights(imported: Imported, value: Any) -> None:
    if str(value).startswith("pissa"):
        imported.values["pissa_init"] = True
    elif value is not True:
        imported.unmapped["init_lora_weights"] = (
            f"{value!r}: LLaMA-Factory knows only the usual initialisation and PiSSA."
        )


def _checkpointing(imported: Imported, value: Any) -> None:
    if value == "unsloth":
        imported.values["use_unsloth_gc"] = True
    elif not value:
        imported.values["disable_gradient_checkpointing"] = True


def _length_groups(imported: Imported, value: Any) -> None:
    if value:
        imported.values["train_sampling_strategy"] = "group_by_length"


def _packing(imported: Imported, value: Any) -> None:
    if value:
        imported.values["neat_packing"] = True
        imported.notes.append("packing became neat_packing: rows in a pack do not see each other.")


def _dtype(imported: Imported, _value: Any) -> None:
    note = "The precision is not written: lfwrap sets bf16 or fp16 by the machine."
    if note not in imported.notes:
        imported.notes.append(note)


_HANDLERS: dict[str, Callable[[Imported, Any], None]] = {
    "use_lora": _lora,
    "use_qlora": _quantized(4),
    "load_in_4bit": _quantized(4),
    "load_in_8bit": _quantized(8),
    "target_modules": _targets,
    "lora_target_modules": _targets,
    "modules_to_save": _saved_modules,
    "bias": _bias,
    "init_lora_weights": _initial_weights,
    "gradient_checkpointing": _checkpointing,
    "use_gradient_checkpointing": _checkpointing,
    "group_by_length": _length_groups,
    "packing": _packing,
    "torch_dtype": _dtype,
    "dtype": _dtype,
    "bnb_4bit_compute_dtype": _dtype,
}


def _complete(imported: Imported, facts: EngineFacts) -> None:
    """Add the keys that follow from others: the method, the template, the effective batch."""
    values = imported.values
    if "lora_rank" in values or values.get("quantization_bit"):
        values["finetuning_type"] = "lora"
    model = values.get(MODEL_KEY)
    template = facts.template_for(model) if isinstance(model, str) else None
    if template and "template" not in values:
        values["template"] = template
    if "per_device_train_batch_size" in values and "effective_batch_size" not in imported.intent:
        micro, accumulation = values["per_device_train_batch_size"], values.pop("gradient_accumulation_steps", 1)
        imported.intent["effective_batch_size"] = micro * accumulation
        imported.notes.append(f"An update sees {micro} × {accumulation} rows, as on one GPU, on any number of them.")
    if values.get("max_steps", 0) > 0 and imported.intent.pop(_EPOCH_PART, None) is not None:
        imported.unmapped[_EPOCH_PART] = "max_steps leaves the length of an epoch open; write save_steps."
    values[BLOCK] = imported.intent
    for key in ("bf16", "fp16"):
        if values.pop(key, None):
            _dtype(imported, key)
