"""Layers compiled one by one: the same results, one graph for all of them, and other shapes left alone."""

from __future__ import annotations

import functools

import pytest

from lfwrap_worker.train import compiled_layers

pytestmark = pytest.mark.engine

torch = pytest.importorskip("torch")


def tiny(dropout=0.0):
    """Three layers with adapters, B not zero."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    lora = LoraConfig(r=2, lora_dropout=dropout, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    return get_peft_model(AutoModelForCausalLM.from_config(config), lora)


def gradients(model, ids):
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return [loss.detach(), *(each.grad.clone() for each in model.parameters() if each.grad is not None)]


@pytest.fixture
def with_backend(monkeypatch):
    """with_backend(backend): what torch.compile hands its graphs to, instead of a real compiler."""
    torch_compile = torch.compile

    def use(backend):
        torch._dynamo.reset()
        monkeypatch.setattr(torch, "compile", functools.partial(torch_compile, backend=backend))

    return use


def tokens(rows, columns):
    return torch.randint(0, 64, (rows, columns))


def test_results_are_the_same_and_graphs_are_shared(with_backend):
    from torch._dynamo.testing import CompileCounter

    model = tiny().train()
    usual, smaller = tokens(2, 16), tokens(1, 24)
    expected = [gradients(model, ids) for ids in (usual, smaller)]
    counter = CompileCounter()  # Dynamo at work, without a compiler for what it makes
    with_backend(counter)
    assert compiled_layers.compile_layers(model) == 3
    found = gradients(model, usual)
    assert 1 <= counter.frame_count <= 2  # the first layer's input needs no gradient
    frames = counter.frame_count
    torch.testing.assert_close(found, expected[0])
    torch.testing.assert_close(gradients(model, smaller), expected[1])
    with torch.no_grad():
        model.eval()(input_ids=tokens(4, 16))
    assert counter.frame_count == frames  # neither a smaller shape nor an evaluation is compiled
    model.train()
    gradients(model, usual)
    assert counter.frame_count == frames


def test_a_larger_shape_is_compiled_too_and_no_third(with_backend):
    from torch._dynamo.testing import CompileCounter

    model, counter = tiny().train(), CompileCounter()
    with_backend(counter)
    compiled_layers.compile_layers(model)
    frames = []
    for ids in (tokens(1, 16), tokens(2, 16), tokens(1, 16), tokens(2, 16), tokens(3, 16)):
        gradients(model, ids)
        frames.append(counter.frame_count)
    assert 0 < frames[0] < frames[1]  # a run resumed at the last, small micro-batch of an epoch
    assert frames[1:] == [frames[1]] * 4


def test_where_the_compiler_fails_layers_run_as_ever_and_one_line_says_so(with_backend, capsys):
    def fail(*_):
        raise RuntimeError("no C compiler\nof any kind")

    model, ids = tiny().train(), tokens(2, 16)
    expected = gradients(model, ids)
    with_backend(fail)
    compiled_layers.compile_layers(model)
    for _ in range(2):
        torch.testing.assert_close(gradients(model, ids), expected)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lfwrap:")]
    assert line.startswith("lfwrap: layers run uncompiled: ")
    assert "no C compiler" in line


def test_running_out_of_memory_stays_an_error(with_backend):
    def exhaust(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = tiny().train()
    with_backend(lambda graph, _: exhaust)
    compiled_layers.compile_layers(model)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(model, tokens(2, 16))


def test_checkpointed_layers_draw_the_same_dropout_twice():
    """With a real compiler: what is computed again has the masks of the first time, though it is another graph."""
    ids, found = tokens(2, 16), []
    for checkpointing in (False, True):
        model = tiny(dropout=0.3).train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
            model.enable_input_require_grads()
        compiled_layers.compile_layers(model)
        torch.manual_seed(1)
        found.append(gradients(model, ids))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_pictures_are_seen_as_ever():
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    text = {
        "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
    }  # fmt: skip
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2}
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision))
    assert [type(layer).__name__ for layer in compiled_layers.decoder_layers(model)] == ["Qwen2VLDecoderLayer"] * 3


def test_a_compiled_layer_computes_the_same():
    model = tiny().train()
    ids = tokens(2, 16)
    expected = gradients(model, ids)
    names = list(model.state_dict())
    compiled_layers.compile_layers(model)
    torch.testing.assert_close(gradients(model, ids), expected, rtol=1e-4, atol=1e-6)
    assert list(model.state_dict()) == names


def test_liger_keeps_its_loss_alone():
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
