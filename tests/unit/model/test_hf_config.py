"""config.json → facts, from a folder and from the hub's cache."""

from __future__ import annotations

import json

import pytest

from lfwrap.errors import PreflightError
from lfwrap.model.hf_config import find_config, load_model_facts, parse_config
from lfwrap.model.shapes import catalog_model

QWEN = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": 32768,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}
GEMMA3 = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_hidden_layers": 26,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 262144,
        "sliding_window": 512,
    },
}
MOE = {
    **QWEN,
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "tie_word_embeddings": False,
}


def write_config(folder, config):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "model"),
    [(QWEN, "qwen2.5-0.5b"), (GEMMA3, "gemma-3-1b"), (MOE, "qwen3-30b-a3b")],
    ids=lambda v: str(v)[:20],
)
def test_the_publishers_files_give_the_published_counts(config, model):
    facts, known = parse_config(config, "m"), catalog_model(model)
    assert facts is not None
    assert known is not None
    assert facts.parameters == known.parameters
    assert facts.active_parameters == known.active_parameters


def test_a_switched_off_window_is_none():
    facts = parse_config(QWEN, "m")
    assert facts is not None
    assert facts.sliding_window == 0
    assert facts.dtype == "bfloat16"
    assert facts.head_dim == 64


@pytest.mark.parametrize(
    ("named", "stored", "expected"),
    [
        ({"torch_dtype": "bfloat16"}, "F32", "bfloat16"),
        ({"dtype": "torch.float16"}, "F32", "float16"),
        ({"dtype": None}, "BF16", "bfloat16"),
        ({"dtype": "auto"}, "F16", "float16"),
        ({}, "F32", "float32"),
        ({}, None, "float32"),
        ({}, "broken", "float32"),
    ],
)
def test_the_type_is_the_configs_or_that_of_the_weights(tmp_path, named, stored, expected):
    """As transformers loads it by `dtype="auto"`: the first floating tensor decides where the config names none."""
    config = {**QWEN, **named} if named else {key: value for key, value in QWEN.items() if key != "torch_dtype"}
    if "dtype" in named:
        config.pop("torch_dtype")
    folder = write_config(tmp_path / "m", config)
    if stored is not None:
        empty = {"shape": [0], "data_offsets": [0, 0]}
        tensors = {"__metadata__": {}, "a": {"dtype": "I64", **empty}, "b": {"dtype": stored, **empty}}
        header = b"{" if stored == "broken" else json.dumps(tensors).encode()
        (folder / "model-00001-of-2.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    facts = load_model_facts(str(folder))
    assert facts is not None
    assert facts.dtype == expected


def test_an_architecture_without_shapes_is_unknown():
    assert parse_config({"model_type": "mamba2"}, "m") is None


def test_a_quantised_checkpoint_says_so():
    facts = parse_config({**QWEN, "quantization_config": {"quant_method": "gptq"}}, "m")
    assert facts is not None
    assert facts.is_quantized


def test_a_folder_counts_more_than_its_name(tmp_path):
    folder = write_config(tmp_path / "Qwen2.5-7B-Instruct", QWEN)
    facts = load_model_facts(str(folder))
    assert facts is not None
    assert facts.num_layers == 24
    assert facts.template == "qwen"


def test_a_folder_without_config_falls_back_to_its_name(tmp_path):
    folder = tmp_path / "Qwen2.5-7B-Instruct"
    folder.mkdir()
    facts = load_model_facts(str(folder))
    assert facts is not None
    assert facts.num_layers == 28


def test_the_hubs_cache_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--me--mine"
    write_config(repository / "snapshots" / "abc", QWEN)
    assert find_config("me/mine") is None
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc\n", encoding="ascii")
    assert find_config("me/mine") == repository / "snapshots" / "abc" / "config.json"
    assert find_config("me/mine", revision="abc") is not None
    assert find_config("me/other") is None
    facts = load_model_facts("me/mine")
    assert facts is not None
    assert facts.hidden_size == 896


@pytest.mark.parametrize(
    "text", ["{", "[]", '"x"', '{"model_type": "qwen2"}', '{"model_type": "qwen2", "hidden_size": "x"}']
)
def test_a_broken_file_is_named(tmp_path, text):
    folder = write_config(tmp_path / "m", text)
    with pytest.raises(PreflightError, match=r"config\.json: no usable model configuration"):
        load_model_facts(str(folder))
