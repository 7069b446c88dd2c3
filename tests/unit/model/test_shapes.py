"""Shapes and parameter counts of the catalogue's models, and names that lead to them."""

from __future__ import annotations

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.model.hf_config import load_model_facts
from lfwrap.model.shapes import catalog_model, catalog_models, published_parameters


@pytest.mark.parametrize("name", catalog_models())
def test_parameters_counted_from_shapes_are_those_published(name):
    facts = catalog_model(name)
    assert facts is not None
    assert facts.parameters == published_parameters(name)


def test_the_catalogue_covers_the_families():
    names = catalog_models()
    assert len(names) >= 40
    families = "qwen2.5 qwen3 llama-3.1 llama-3.2 llama-3.3 mistral gemma-2 gemma-3 smollm2 deepseek-r1 phi-4 gpt-oss"
    for family in families.split():
        assert any(name.startswith(family) for name in names), family


@pytest.mark.parametrize("name", catalog_models())
def test_its_templates_are_the_engines(name):
    facts = catalog_model(name)
    assert facts is not None
    assert facts.template in load_engine_facts().templates


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
        ("/models/Qwen2.5-7B-Instruct/", "qwen2.5-7b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("meta-llama/Meta-Llama-3.1-8B", "llama-3.1-8b"),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "qwen2.5-7b"),
        ("google/gemma-2-2b-it", "gemma-2-2b"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3-4b"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
    ],
)
def test_names_lead_to_their_model(name, expected):
    found, known = catalog_model(name), catalog_model(expected)
    assert found is not None
    assert known is not None
    assert found.name == name
    assert found.parameters == known.parameters


@pytest.mark.parametrize("name", ["me/my-model", "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4-extra", "", "/"])
def test_unknown_names_are_not_guessed(name):
    assert catalog_model(name) is None


def test_a_mixture_of_experts_computes_with_a_part():
    facts = catalog_model("qwen3-30b-a3b")
    assert facts is not None
    assert facts.is_moe
    assert 3.2e9 < facts.active_parameters < 3.5e9
    assert {linear.name for linear in facts.linears} == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_a_dense_model_computes_with_all():
    facts = catalog_model("llama-3.1-8b")
    assert facts is not None
    assert facts.active_parameters == facts.parameters
    assert facts.linear_weights == sum(
        facts.num_layers * linear.in_features * linear.out_features for linear in facts.linears
    )


def test_fused_projections_are_one_matrix():
    facts = catalog_model("phi-4-mini")
    assert facts is not None
    assert {linear.name for linear in facts.linears} == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_json_carries_the_counts():
    facts = load_model_facts("Qwen/Qwen2.5-0.5B")
    assert facts is not None
    assert facts.to_json()["parameters"] == 494032768
