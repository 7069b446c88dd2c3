"""What is known of a model by its name: its config.json, in a folder or the hub's cache, or the shipped catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from lfwrap.dirs import hub_cache
from lfwrap.errors import PreflightError
from lfwrap.model.shapes import ModelFacts, catalog_model
from lfwrap.model.weight_files import BrokenWeightsError, read_header

# model_type → what its code does that config.json does not say.
_FAMILIES: dict[str, dict[str, Any]] = {
    "qwen2": {"attention_bias": True},
    "qwen3": {"qk_norm": True},
    "qwen3_moe": {"qk_norm": True},
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "gemma": {},
    "gemma2": {"norms_per_layer": 4},
    "gemma3_text": {"norms_per_layer": 4, "qk_norm": True},
    "phi3": {"fused_projections": True},
    "gpt_oss": {"attention_bias": True, "output_bias": True},
}
_TIED_BY_DEFAULT = {"gemma", "gemma2", "gemma3_text"}
# safetensors' names of floating types.
_STORED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/\w[\w.-]*$")
_EXPERT_COUNT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")


def load_model_facts(name_or_path: str, *, revision: str | None = None) -> ModelFacts | None:
    """What is known of a model, without the network.

    Looks at a local folder's config.json, then into the Hugging Face cache, then into the shipped catalogue. Returns
    None when none of them knows it.

    Args:
        name_or_path: a folder, or a hub id such as ``Qwen/Qwen2.5-7B-Instruct``.
        revision: the hub revision to look for in the cache; by default ``main``.

    Raises:
        PreflightError: there is a config.json, but it can't be read.
    """
    path = find_config(name_or_path, revision=revision)
    known = catalog_model(name_or_path)
    if path is None:
        return known
    return load_config(path, name_or_path, template=known.template if known else None) or known


def has_hub_form(name: str) -> bool:
    """Whether a name could be a hub id, ``OWNER/NAME``; a folder's relative path may look the same.

    >>> has_hub_form("Qwen/Qwen2.5-7B-Instruct"), has_hub_form("models/law/v2"), has_hub_form("./law")
    (True, False, False)
    """
    return _HUB_ID.match(name) is not None


def find_config(name_or_path: str, *, revision: str | None = None) -> Path | None:
    """The config.json of a local folder or of the newest copy in the Hugging Face cache; None when there is none."""
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        path = folder / "config.json"
        return path if path.is_file() else None
    if name_or_path.count("/") != 1:
        return None
    repository = hub_cache() / f"models--{name_or_path.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision or ""
    path = repository / "snapshots" / commit / "config.json"
    return path if commit and path.is_file() else None


def load_config(path: Path, name: str, *, template: str | None = None) -> ModelFacts | None:
    """Read a config.json; None for an architecture whose shapes lfwrap can't count.

    Raises:
        PreflightError: the file can't be read, is no JSON object, or lacks a shape.
    """
    try:
        config = orjson.loads(path.read_bytes())
        facts = parse_config(config, name, template=template)
        if facts is None or _named_type(config):
            return facts
        return replace(facts, dtype=stored_type(path.parent) or facts.dtype)
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PreflightError(
            f"{path}: no usable model configuration: {type(error).__name__}: {error}",
            hint="Fetch the model again, or name another folder.",
        ) from error


def parse_config(config: Mapping[str, Any], name: str, *, template: str | None = None) -> ModelFacts | None:
    """Facts from the contents of a config.json; None for an unknown architecture.

    Raises:
        KeyError: a shape is missing.

    >>> parse_config({"model_type": "mamba"}, "state-spaces/mamba") is None
    True
    """
    text: Mapping[str, Any] = config.get("text_config") or config
    architecture = str(text.get("model_type", ""))
    if architecture == "gemma3":  # text-only checkpoints of the multimodal class
        architecture = "gemma3_text"
    if architecture not in _FAMILIES:
        return None
    heads = int(text["num_attention_heads"])
    hidden = int(text["hidden_size"])
    experts = next((int(text[key]) for key in _EXPERT_COUNT_KEYS if text.get(key)), 0)
    family = dict(_FAMILIES[architecture])
    if architecture not in {"qwen2", "gpt_oss"}:
        family["attention_bias"] = family["output_bias"] = bool(text.get("attention_bias", False))
    return ModelFacts(
        name=name,
        architecture=architecture,
        hidden_size=hidden,
        num_layers=int(text["num_hidden_layers"]),
        num_heads=heads,
        num_kv_heads=int(text.get("num_key_value_heads") or heads),
        head_dim=int(text.get("head_dim") or hidden // heads),
        intermediate_size=int(text.get("moe_intermediate_size") or text["intermediate_size"]),
        vocab_size=int(text["vocab_size"]),
        tied_embeddings=bool(_tied(config, text, architecture)),
        num_experts=experts,
        experts_per_token=int(text.get("num_experts_per_tok") or text.get("experts_per_token") or 0),
        shared_experts_size=int(text.get("shared_expert_intermediate_size") or 0),
        sliding_window=_window(text, architecture),
        logit_softcap=bool(text.get("final_logit_softcapping")),
        attention_softcap=bool(text.get("attn_logit_softcapping")),
        max_positions=int(text.get("max_position_embeddings") or 0),
        dtype=_named_type(config) or "float32",
        template=template,
        is_quantized="quantization_config" in config,
        **family,
    )


def _named_type(config: Mapping[str, Any]) -> str | None:
    """The type of the weights that a config.json names."""
    places = (config.get("text_config") or {}, config)
    named = (place.get(key) for place in places for key in ("dtype", "torch_dtype"))
    return next((str(value).removeprefix("torch.") for value in named if value and value != "auto"), None)


def stored_type(folder: Path) -> str | None:
    """The floating type that a model's weights are stored in: what it is loaded in where its config.json names none.

    Read from the header of its first safetensors file; None where there is none, or it can't be read.
    """
    path = next(iter(sorted(folder.glob("model*.safetensors"))), None)
    try:
        header = read_header(path) if path else {}
    except BrokenWeightsError:
        return None
    kinds = (str(entry.get("dtype")) for entry in header.values())
    return next((_STORED[kind] for kind in kinds if kind in _STORED), None)


def _tied(config: Mapping[str, Any], text: Mapping[str, Any], architecture: str) -> Any:
    default = architecture in _TIED_BY_DEFAULT
    return text.get("tie_word_embeddings", config.get("tie_word_embeddings", default))


def _window(text: Mapping[str, Any], architecture: str) -> int:
    if architecture.startswith("qwen") and not text.get("use_sliding_window"):
        return 0
    return int(text.get("sliding_window") or 0)
