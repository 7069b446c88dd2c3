"""Which adapters are merged tensor by tensor, and which are left to the engine."""

from __future__ import annotations

import json

import pytest

from lfwrap.export.merging import why_not_streamed
from lfwrap.inference.target import resolve_target

PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "rank_pattern": {}, "use_dora": False}


@pytest.fixture
def target(build, facts):
    def make(adapter=None, config=None, options="", weights=None):
        base = build.model(**(config or {}))
        run = build.run(base, engine_yaml=f"template: qwen\n{options}")
        path = run.output / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **PLAIN, **(adapter or {})}))
        if weights:
            build.weights(run.output / "adapter_model.safetensors", weights)
        return resolve_target(str(run.root), facts)

    return make


def test_a_plain_adapter_is_streamed(target):
    assert why_not_streamed(target()) is None


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "OFT"}, "peft_type"),
    ],
)
def test_another_adapter_is_left_to_the_engine(target, adapter, reason):
    assert reason in why_not_streamed(target(adapter))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("resize_vocab: true\n", "changed the base"),
        ("rope_scaling: yarn\n", "changed the base"),
        ("trust_remote_code: true\n", "model type"),
        ("adapter_name_or_path: /one\ncreate_new_adapter: true\n", "changed the base"),
    ],
)
def test_a_changed_base_is_left_to_the_engine(target, options, reason):
    assert reason in why_not_streamed(target(options=options))


def test_an_unknown_architecture_is_left_to_the_engine(target):
    assert why_not_streamed(target(config={"model_type": "gpt_oss"})) == "model type gpt_oss"


@pytest.mark.parametrize(
    ("weights", "config", "reason"),
    [
        ({"base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": (2, 8)}, {}, "has no counterpart"),
        ({"base_model.model.lm_head.weight": (2, 8)}, {}, "has no counterpart"),
    ],
)
def test_matrices_without_a_counterpart_are_left_to_the_engine(target, weights, config, reason):
    assert reason in why_not_streamed(target(weights=weights, config=config))


def test_a_whole_model_is_left_to_the_engine(build, facts):
    assert "no adapter" in why_not_streamed(resolve_target(str(build.model()), facts))
