"""Layers compiled one by one: the same results, one graph for all of them, and other shapes left alone."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pytest

import lfwrap.worker

pytestmark = pytest.mark.engine

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def compiled_layers():
    path = Path(lfwrap.worker.__file__).parent / "compiled_layers.py"
    spec = importlib.util.spec_from_file_location("compiled_layers", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny():
    """Three layers with adapters, B not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    lora = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    return get_peft_model(AutoModelForCausalLM.from_config(config), lora)


def gradients(model, ids):
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return [loss.detach(), *(each.grad.clone() for each in model.parameters() if each.grad is not None)]


def test_results_are_the_same_and_graphs_are_shared(compiled_layers):
    from torch._dynamo.testing import CompileCounter

    model = tiny().train()
    usual, other = torch.randint(0, 64, (2, 16)), torch.randint(0, 64, (1, 24))
    expected = [gradients(model, ids) for ids in (usual, other)]
    counter = CompileCounter()  # Dynamo at work, without a compiler for what it makes
    layers = list(compiled_layers.decoder_layers(model))
    assert len(layers) == 3
    torch_compile = torch.compile
    try:
        torch.compile = functools.partial(torch_compile, backend=counter)
        for layer in layers:
            compiled_layers.compile_layer(layer)
    finally:
        torch.compile = torch_compile
    found = gradients(model, usual)
    assert 1 <= counter.frame_count <= 2  # the first layer's input needs no gradient
    frames = counter.frame_count
    for one, two in zip(found, expected[0], strict=True):
        torch.testing.assert_close(one, two)
    for one, two in zip(gradients(model, other), expected[1], strict=True):
        torch.testing.assert_close(one, two)
    with torch.no_grad():
        model.eval()(input_ids=usual)
    assert counter.frame_count == frames  # neither another shape nor an evaluation is compiled
    model.train()
    gradients(model, usual)
    assert counter.frame_count == frames


def test_a_compiled_layer_computes_the_same(compiled_layers):
    model = tiny().train()
    ids = torch.randint(0, 64, (2, 16))
    expected = gradients(model, ids)
    for layer in compiled_layers.decoder_layers(model):
        compiled_layers.compile_layer(layer)
    for one, two in zip(gradients(model, ids), expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_liger_keeps_its_loss_alone(compiled_layers):
    package = pytest.importorskip("liger_kernel.transformers")
    before = package.apply_liger_kernel_to_qwen2
    try:
        compiled_layers.keep_liger_out(package)
        assert package.apply_liger_kernel_to_qwen2.keywords == {"rope": False, "rms_norm": False, "swiglu": False}
        assert package.apply_liger_kernel_to_gemma.keywords["geglu"] is False
    finally:
        for name in [name for name in vars(package) if name.startswith("apply_liger_kernel_to_")]:
            delattr(package, name)
    assert package.apply_liger_kernel_to_qwen2.__name__ == before.__name__
