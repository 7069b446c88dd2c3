"""More work never takes less memory."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.model.shapes import catalog_model
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings
from lfwrap.plan.memory.peak import estimate_memory

models = st.sampled_from(["qwen2.5-0.5b", "qwen2.5-7b", "llama-3.2-3b", "gemma-2-2b", "qwen3-30b-a3b", "phi-4-mini"])
train_settings = st.builds(
    TrainSettings,
    method=st.sampled_from(["lora", "full"]),
    micro_batch=st.integers(1, 64),
    seq_len_tokens=st.integers(8, 32768),
    accumulation=st.integers(1, 16),
    world_size=st.sampled_from([1, 2, 8]),
    quantization_bit=st.sampled_from([0, 4, 8]),
    rank=st.integers(1, 256),
    target=st.sampled_from(["all", "q_proj,v_proj"]),
    dropout=st.sampled_from([0.0, 0.1]),
    precision=st.sampled_from(list(Precision)),
    liger=st.booleans(),
    checkpointing=st.booleans(),
    offload_checkpoints=st.booleans(),
    packing=st.booleans(),
    padded=st.booleans(),
    optimizer=st.sampled_from(["adamw_torch", "adamw_torch_fused", "adamw_8bit", "sgd"]),
    zero_stage=st.sampled_from([None, 0, 2, 3]),
    offload=st.booleans(),
    fused_attention=st.booleans(),
    is_extended=st.booleans(),
    is_padding_free=st.booleans(),
)


@given(model=models, base=train_settings, more=st.integers(1, 64))
@pytest.mark.parametrize("name", ["micro_batch", "seq_len_tokens", "rank"])
def test_memory_grows(name, model, base, more):
    facts = catalog_model(model)
    larger = dataclasses.replace(base, **{name: getattr(base, name) + more})
    small, large = estimate_memory(facts, base), estimate_memory(facts, larger)
    assert large.peak_allocated_bytes >= small.peak_allocated_bytes
    assert large.device_bytes >= small.device_bytes


@given(model=models, base=train_settings)
def test_every_term_counts_and_the_sum_is_the_peak(model, base):
    estimate = estimate_memory(catalog_model(model), base)
    assert all(term.bytes > 0 for term in estimate.terms)
    assert estimate.peak_allocated_bytes == max(estimate.phases.values())
    assert estimate.device_bytes > estimate.peak_allocated_bytes


@given(model=models, base=train_settings)
def test_liger_and_quantisation_never_cost_lasting_memory(model, base):
    facts = catalog_model(model)
    lora = dataclasses.replace(base, method="lora", quantization_bit=0, precision=Precision.MIXED)
    quantized = dataclasses.replace(lora, quantization_bit=4)

    def base_weights(of):
        return sum(term.bytes for term in estimate_memory(facts, of).terms if term.name == "base weights")

    assert base_weights(quantized) <= base_weights(lora)
