"""What ``speed: max`` puts in the place of the engine's own ways computes the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.engine

torch = pytest.importorskip("torch")


def tiny(kind, **more):
    """A model of two layers with grouped queries."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=128,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        sliding_window=None,
        **more,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")


def with_adapter(model, dropout=0.0):
    """Adapters on all linear layers, B not zero."""
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=targets))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def padded_batch():
    """Four rows of different lengths, two of them packed into one, a prompt each that is not supervised."""
    torch.manual_seed(1)
    ids = torch.randint(1, 128, (3, 24))
    mask = torch.zeros(3, 24, dtype=torch.long)
    mask[0, :10], mask[0, 10:22] = 1, 2
    mask[1, :24] = 1
    mask[2, :7] = 1
    labels = ids.clone()
    labels[mask == 0] = -100
    for row, start in ((0, 0), (0, 10), (1, 0), (2, 0)):
        labels[row, start : start + 4] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def gradients(model, batch):
    """Loss and the adapters' gradients, one vector."""
    model.zero_grad()
    items = (batch["labels"] != -100).sum()
    loss = model(**batch, num_items_in_batch=items).loss
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def block_mask(batch):
    """What the engine makes of a packed batch for sdpa."""
    from llamafactory.data.collator import prepare_4d_attention_mask

    return {**batch, "attention_mask": prepare_4d_attention_mask(batch["attention_mask"], torch.float32)}


def positions(batch):
    """Positions that begin anew in each packed row."""
    mask = batch["attention_mask"]
    result = torch.zeros_like(mask)
    for row in range(mask.shape[0]):
        for number in mask[row].unique():
            where = (mask[row] == number).nonzero().squeeze(1)
            result[row, where] = torch.arange(len(where))
    return {**batch, "position_ids": result}


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3"])
def test_rows_without_padding_give_the_loss_and_gradients_of_the_engines_padded_batch(speed, kind):
    model = with_adapter(tiny(kind))
    batch = positions(padded_batch())
    expected = gradients(model, block_mask(batch))
    assert speed.attention.install(model) is None
    flat = speed.batches.flatten({key: value for key, value in batch.items() if key != "position_ids"})
    assert flat["input_ids"].shape == (1, int((batch["attention_mask"] != 0).sum()))
    assert flat["max_length_q"] == 24
    loss, grads = gradients(model, flat)
    torch.testing.assert_close(loss, expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads, expected[1], rtol=1e-4, atol=1e-5)


def test_a_padded_batch_still_goes_the_way_of_sdpa(speed):
    model = tiny("qwen2").eval()
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    expected = model(**batch).loss
    assert speed.attention.install(model) is None
    torch.testing.assert_close(model(**batch).loss, expected)


@pytest.mark.parametrize(
    ("kind", "change", "reason"),
    [
        ("gemma2", {}, "not known"),
        ("qwen2", {"use_sliding_window": True}, "sliding"),
        ("mistral", {"sliding_window": 8}, "sliding"),
    ],
)
def test_models_that_attend_otherwise_are_left_alone(speed, kind, change, reason):
    config = SimpleNamespace(model_type=kind, _attn_implementation="sdpa", sliding_window=None)
    vars(config).update(change)
    assert reason in speed.attention.install(SimpleNamespace(config=config))


def test_the_fused_adapter_gives_pefts_loss_and_gradients(speed):
    model = with_adapter(tiny("qwen2"))
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    expected = gradients(model, batch)
    assert speed.adapters.install(model) == {"fused": 14, "joined": 10}
    loss, grads = gradients(model, batch)
    torch.testing.assert_close(loss, expected[0])
    torch.testing.assert_close(grads, expected[1], rtol=1e-4, atol=1e-6)


# The type of the checkpoint, and what autocast computes in.
CASTS = [
    (torch.float32, torch.bfloat16),
    (torch.float16, torch.bfloat16),
    (torch.bfloat16, torch.bfloat16),
    (torch.float32, torch.float16),
    (torch.bfloat16, torch.float16),
]


def checkpoint(kind, dtype, dropout=0.0):
    """A model whose weights have a type, with adapters in fp32, as the engine loads it."""
    model = with_adapter(tiny(kind), dropout)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def cast_gradients(model, batch, autocast):
    """`gradients`, computed as the engine's trainer does for ``bf16: true`` and ``fp16: true``."""
    model.zero_grad()
    items = (batch["labels"] != -100).sum()
    with torch.autocast("cpu", dtype=autocast):
        loss = model(**batch, num_items_in_batch=items).loss
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def share_off(found, expected):
    """How far two vectors are apart, as a part of the second's length."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize(("held", "autocast"), CASTS)
def test_frozen_weights_of_any_type_are_cast_as_autocast_does(speed, held, autocast):
    model = checkpoint("llama", held)
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    expected = cast_gradients(model, batch, autocast)
    assert speed.adapters.install(model, autocast) == {"fused": 14, "joined": 10}
    loss, grads = cast_gradients(model, batch, autocast)
    torch.testing.assert_close(loss, expected[0], rtol=2e-3, atol=0)
    assert grads.dtype == torch.float32
    assert share_off(grads, expected[1]) < 0.02, "no more than 16-bit rounding"
    linear = model.base_model.model.model.layers[0].mlp.down_proj
    with torch.autocast("cpu", dtype=autocast):
        assert linear(torch.randn(1, 3, 64)).dtype == autocast


@pytest.mark.parametrize(("held", "autocast"), CASTS[:2])
def test_rows_without_padding_attend_in_the_type_of_autocast(speed, held, autocast):
    """Rotated queries and keys are fp32 where the checkpoint is; the flash kernel takes 16 bit alone."""
    model = checkpoint("llama", held)
    batch = positions(padded_batch())
    expected = cast_gradients(model, block_mask(batch), autocast)
    assert speed.attention.install(model, autocast) is None
    speed.adapters.install(model, autocast)
    flat = speed.batches.flatten({key: value for key, value in batch.items() if key != "position_ids"})
    seen = set()
    row_by_row = speed.attention._row_by_row
    speed.attention._row_by_row = lambda *args: seen.update(each.dtype for each in args[:3]) or row_by_row(*args)
    loss, grads = cast_gradients(model, flat, autocast)
    speed.attention._row_by_row = row_by_row
    assert seen == {autocast}
    torch.testing.assert_close(loss, expected[0], rtol=2e-3, atol=0)
    assert share_off(grads, expected[1]) < 0.02


def test_rows_without_padding_train_all_weights_in_mixed_precision(speed):
    """Trained weights are fp32 under bf16, too."""
    model = tiny("qwen2").train()
    batch = positions(padded_batch())
    expected = cast_gradients(model, block_mask(batch), torch.bfloat16)
    assert speed.attention.install(model, torch.bfloat16) is None
    flat = speed.batches.flatten({key: value for key, value in batch.items() if key != "position_ids"})
    loss, grads = cast_gradients(model, flat, torch.bfloat16)
    torch.testing.assert_close(loss, expected[0], rtol=2e-3, atol=0)
    assert share_off(grads, expected[1]) < 0.03


def quantized(tmp_path, dtype):
    """The same, its linear layers in NF4."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    pytest.importorskip("bitsandbytes")
    tiny("llama").to(dtype).save_pretrained(tmp_path)
    bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return with_adapter(AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=bits, dtype="auto"))


@pytest.mark.parametrize("held", [torch.bfloat16, torch.float32])
def test_4_bit_layers_give_what_bitsandbytes_and_peft_give(speed, tmp_path, held):
    """Norms in fp32 have them read fp32: they compute in 16 bit, and give fp32 again."""
    model = quantized(tmp_path, held)
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    linear = model.base_model.model.model.layers[0].mlp.gate_proj
    kinds = []
    linear.register_forward_hook(lambda _, read, given: kinds.append((read[0].dtype, given.dtype)))
    expected = cast_gradients(model, batch, torch.bfloat16)
    assert speed.adapters.install(model, torch.bfloat16) == {"fused": 14, "joined": 10}
    loss, grads = cast_gradients(model, batch, torch.bfloat16)
    assert kinds[1] == kinds[0]
    torch.testing.assert_close(loss, expected[0], rtol=2e-3, atol=0)
    assert share_off(grads, expected[1]) < 0.02


def test_without_autocast_an_adapter_in_fp32_over_16_bit_weights_is_left_to_peft(speed):
    report = speed.adapters.install(checkpoint("llama", torch.bfloat16))
    assert report == {
        "fused": 0,
        "joined": 0,
        "left": {"the adapter is computed in fp32, its layer in torch.bfloat16": 14},
    }
    assert speed.adapters.install(checkpoint("llama", torch.float32)) == {"fused": 14, "joined": 10}


@pytest.mark.parametrize(
    ("asked", "pure", "expected"),
    [(torch.bfloat16, False, torch.bfloat16), (torch.float16, False, torch.float16), (torch.bfloat16, True, None)],
)
def test_the_type_of_autocast_is_what_the_engine_was_asked_for(speed, asked, pure, expected):
    found = speed.casting.asked_type(SimpleNamespace(compute_dtype=asked), SimpleNamespace(pure_bf16=pure))
    assert found == expected


LANES = {"q_proj": 0, "k_proj": 1, "v_proj": 2, "o_proj": 0, "gate_proj": 0, "up_proj": 1, "down_proj": 0}


def test_with_dropout_the_gradient_is_that_of_the_masks_drawn(speed, monkeypatch):
    """peft with the very masks that the fused layers draw: one seed for all that read the same input, a lane each."""
    model = with_adapter(tiny("qwen2"), dropout=0.5)
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    lanes = {
        dropout: LANES[name.rpartition(".")[2]]
        for name, module in model.named_modules()
        if hasattr(module, "lora_dropout")
        for dropout in module.lora_dropout.values()
    }
    seeds = []

    def same_mask(module, x):
        if lanes[module] == 0:
            seeds.append(speed.dropout.new_seed(x.device))
        rows = x.reshape(-1, x.shape[-1])
        ones = speed.dropout.drop(torch.ones_like(rows), seeds[-1], module.p, lanes[module]).view_as(x)
        return x * ones / (1 - module.p)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Dropout, "forward", same_mask)
        torch.manual_seed(3)
        expected = gradients(model, batch)
    assert len(seeds) == 8
    speed.adapters.install(model)
    torch.manual_seed(3)
    loss, grads = gradients(model, batch)
    torch.testing.assert_close(loss, expected[0])
    torch.testing.assert_close(grads, expected[1], rtol=1e-4, atol=1e-6)


def test_layers_that_do_not_read_the_same_are_computed_one_by_one(speed):
    """A model that asks only one of three, and another that gives each an input of its own."""
    model = with_adapter(tiny("qwen2"))
    attention = model.base_model.model.model.layers[0].self_attn
    one, other = torch.randn(2, 5, 32)
    expected = [attention.q_proj(one), attention.k_proj(other), attention.q_proj(other), attention.v_proj(other)]
    speed.adapters.install(model)
    found = [attention.q_proj(one), attention.k_proj(other), attention.q_proj(other), attention.v_proj(other)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_adapters_of_different_ranks_stay_apart(speed):
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj"]
    model = get_peft_model(tiny("qwen2"), LoraConfig(r=4, rank_pattern={"v_proj": 8}, target_modules=targets)).train()
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    expected = gradients(model, batch)
    assert speed.adapters.install(model) == {"fused": 6, "joined": 0}
    torch.testing.assert_close(gradients(model, batch), expected, rtol=1e-4, atol=1e-6)


def test_checkpointing_draws_the_same_masks_again(speed):
    batch = padded_batch()
    batch["attention_mask"] = (batch["attention_mask"] != 0).long()
    results = []
    for checkpointing in (False, True):
        model = with_adapter(tiny("qwen2"), dropout=0.5)
        speed.adapters.install(model)
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": True})
        torch.manual_seed(3)
        results.append(gradients(model, batch))
    torch.testing.assert_close(results[1], results[0])


def test_dropout_drops_the_share_and_the_same_for_the_same_seed(speed):
    x = torch.ones(1000, 100)
    seed = speed.dropout.new_seed(x.device)
    lanes = [speed.dropout.drop(x, seed, 0.1, lane) for lane in range(speed.dropout.LANES)]
    assert torch.equal(lanes[0], speed.dropout.drop(x, seed, 0.1))
    assert not torch.equal(lanes[0], speed.dropout.drop(x, seed + 1, 0.1))
    for lane in lanes:
        assert abs(lane.mean().item() - speed.dropout.kept_share(0.1)) < 0.005
    pairs = [(one * other).mean().item() for i, one in enumerate(lanes) for other in lanes[:i]]
    assert max(abs(both - 0.81) for both in pairs) < 0.005, "lanes drop independently of each other"
    neighbours = (lanes[0][:, 1:] * lanes[0][:, :-1]).mean().item()
    assert abs(neighbours - 0.81) < 0.005


def test_layers_that_do_not_qualify_keep_pefts_forward_and_are_named(speed):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny("qwen2"), LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    assert speed.adapters.install(model) == {
        "fused": 0,
        "joined": 0,
        "left": {"several adapters, or a variant of LoRA": 2},
    }
