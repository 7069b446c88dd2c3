"""What autograd keeps of a layer for its backward pass is what the memory model counts, for any type of checkpoint."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.model.hf_config import parse_config
from lfwrap.plan.inputs.train_settings import TrainSettings
from lfwrap.plan.memory.activations import layer_bytes

pytestmark = pytest.mark.engine

torch = pytest.importorskip("torch")
TOKENS, RANK = 64, 16
ROUNDED = 16  # bytes a token of what is not counted: the norms' own factors


def adapted(layers, held, bits, folder):
    """A narrow SmolLM2 with adapters, as the engine loads it for LoRA."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

    config = AutoConfig.for_model(
        "llama",
        vocab_size=64,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=layers,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=64,
        tie_word_embeddings=True,
        dtype=str(held).removeprefix("torch."),
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(held)
    if bits:
        pytest.importorskip("bitsandbytes")
        model.save_pretrained(folder)
        quantized = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
        model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantized, dtype="auto")
    return get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear")).train()


def kept_bytes(model):
    """Bytes that autograd keeps of a forward pass under autocast, what the model itself holds left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no other gets its address
        return tensor

    ids = torch.zeros(1, TOKENS, dtype=torch.int64)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
        model(input_ids=ids, position_ids=torch.arange(TOKENS)[None])
    return sum(size for size, _ in kept.values())


# peft's way over NF4 asks whether CUDA's autocast is on: on a CPU it casts what it does not on a GPU.
@pytest.mark.parametrize(
    ("held", "bits", "is_extended"),
    [
        ("bfloat16", 0, False),
        ("bfloat16", 0, True),
        ("float32", 0, False),
        ("float32", 0, True),
        ("bfloat16", 4, True),
        ("float32", 4, False),
        ("float32", 4, True),
    ],
)
def test_a_layer_keeps_what_is_counted(speed, tmp_path, held, bits, is_extended):
    kept = []
    for layers in (1, 2):
        model = adapted(layers, getattr(torch, held), bits, tmp_path)
        if is_extended:
            assert speed.adapters.install(model, torch.bfloat16)["fused"] == 7 * layers
            assert speed.attention.install(model, torch.bfloat16) is None
        kept.append(kept_bytes(model))
    facts = dataclasses.replace(parse_config(model.config.to_dict(), "m"), num_layers=1)
    settings = TrainSettings(
        "lora",
        1,
        TOKENS,
        rank=RANK,
        checkpointing=False,
        quantization_bit=bits,
        checkpoint_bytes=4 if held == "float32" else 2,
        is_recast=held == "float32",
        is_extended=is_extended,
        is_padding_free=is_extended,
    )
    copies = 0 if is_extended else 2 * settings.adapter_parameters(facts)
    copies += 2 * facts.linear_weights if held == "float32" and not bits and not is_extended else 0
    counted = TOKENS * layer_bytes(facts, settings).saved
    assert counted <= kept[1] - kept[0] - copies <= counted + ROUNDED * TOKENS
