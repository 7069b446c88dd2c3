"""Activation memory of a decoder layer: bytes a token that it keeps for the backward pass, and its working memory.

Counted from the code that runs: transformers 5's decoder layers, PEFT's LoRA layers, bitsandbytes' and Liger's kernels.
What autograd saves of each operation is what its backward formula reads.
"""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.model.shapes import LinearShape, ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, Precision, TrainSettings, is_attention

_FP32 = 4
# Rows of a chunk, as lfwrap_worker/speed/loss.py sets them for Liger's fused loss.
_EXTENSION_ROWS = 1024


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """Bytes of one decoder layer for each token.

    Attributes:
        norms: inputs of the norms: fp32 copies, or with Liger the inputs as they are.
        inputs: inputs of the linear layers that their gradients (or the adapter's) read, dropout masks included.
        attention: queries, keys, values, output and row statistics.
        mlp: inputs of the MLP's activation and product; of a mixture of experts, the routed tokens.
        working: temporaries at the layer's widest point, the MLP's last matrix; the others are kept.
    """

    norms: int
    inputs: int
    attention: int
    mlp: int
    working: int

    @property
    def saved(self) -> int:
        """Bytes a token that the forward pass keeps for the backward pass."""
        return self.norms + self.inputs + self.attention + self.mlp


def layer_bytes(model: ModelFacts, settings: TrainSettings) -> LayerBytes:
    """The bytes of one decoder layer for each token, without what grows with the square of the length.

    Example:
        Norms keep two fp32 inputs of 3,584 numbers; the MLP keeps gate, up and activated gate of 18,944 numbers in
        bf16.

        >>> from lfwrap.plan.sample import sample_model
        >>> layer = layer_bytes(sample_model(), TrainSettings("lora", 4, 1024, rank=8))
        >>> layer.norms == 4 * 2 * 3584, layer.mlp == 2 * 3 * 18944
        (True, True)
    """
    return LayerBytes(
        norms=_norms(model, settings),
        inputs=_inputs(model, settings),
        attention=_attention(model, settings),
        mlp=_experts(model, settings) if model.is_moe else _mlp(model, settings),
        working=_working(model, settings),
    )


def square_bytes(model: ModelFacts, settings: TrainSettings) -> int:
    """Bytes of one layer that grow with the square of the length: masks, and attention weights without a fused kernel.

    Gemma 2 caps attention weights, which fused kernels can't: the engine runs transformers' own code, and autograd
    keeps the cap's result, the fp32 softmax and its 16-bit copy. In other models rows that differ in length take a
    mask, which each layer's kernel turns from truth values into numbers and keeps; without fused kernels, rows of equal
    length keep fp32 attention weights.

    Example:
        A mask for padding in bf16: 2 bytes for each pair of tokens.

        >>> from lfwrap.plan.sample import sample_model
        >>> square_bytes(sample_model(), TrainSettings("lora", 4, 1024, rank=8, padded=True)) == 2 * 4 * 1024**2
        True
    """
    entries = settings.micro_batch * settings.seq_len_tokens**2
    if model.attention_softcap:
        return (2 * settings.compute_bytes + _FP32) * model.num_heads * entries
    if settings.has_block_mask:
        return 0
    mask = settings.compute_bytes * entries if settings.has_mask else 0
    if settings.fused_attention or model.num_kv_heads == model.num_heads:
        return mask
    return max(mask, _FP32 * model.num_heads * entries)


def mask_bytes(settings: TrainSettings) -> int:
    """Bytes of a micro-batch's attention mask, which all layers share: 1 for each pair of tokens of padded rows.

    The block mask of packed rows has numbers of the computing type, and a copy while it comes to the GPU.

    Example:
        >>> mask_bytes(TrainSettings("lora", 4, 1024, rank=8, padded=True)) == 4 * 1024**2
        True
        >>> mask_bytes(TrainSettings("lora", 4, 1024, rank=8, packing=True)) == 2 * 2 * 4 * 1024**2
        True
    """
    entries = settings.micro_batch * settings.seq_len_tokens**2
    if settings.has_block_mask:
        return 2 * settings.compute_bytes * entries
    return entries if settings.has_mask else 0


def fused_loss_rows(model: ModelFacts, settings: TrainSettings) -> int:
    """Tokens whose logits Liger's fused loss computes at a time: about as many logits as hidden states have numbers.

    They are tokens ÷ ⌈vocabulary ÷ hidden size⌉, rounded up to a power of two. The extension asks for 1024 where that
    is less.

    Example:
        ⌈152,064 ÷ 3,584⌉ is 43, and 4,096 ÷ 43 rounds up to 128.

        >>> from lfwrap.plan.sample import sample_model
        >>> fused_loss_rows(sample_model(), TrainSettings("lora", 4, 1024, rank=8, liger=True))
        128
    """
    slices = -(-model.vocab_size // model.hidden_size)
    rows = 1 << max(0, (-(-settings.tokens // slices) - 1).bit_length())
    return min(settings.tokens, max(rows, _EXTENSION_ROWS) if settings.is_extended else rows)


def _norms(model: ModelFacts, settings: TrainSettings) -> int:
    """RMS norms: transformers squares and scales an fp32 copy; with a trained weight the scaled one is kept, too."""
    widths = model.norms_per_layer * model.hidden_size
    heads = model.q_size + model.kv_size if model.qk_norm else 0
    if settings.fuses_layers:
        return settings.residual_bytes * widths + settings.compute_bytes * heads
    scaled = 0 if settings.is_lora else settings.residual_bytes * widths + settings.compute_bytes * heads
    return _FP32 * (widths + heads) + scaled


def _inputs(model: ModelFacts, settings: TrainSettings) -> int:
    """Inputs of linear layers.

    PEFT casts the input of each adapted layer to the adapter's fp32, and autocast casts it back: one copy for each
    layer. With bitsandbytes, with all numbers in one type, and with lfwrap's extension, layers share their input,
    unless dropout gives each its own, or autocast casts it because it comes from norms in fp32. The inputs of o_proj
    and down_proj are the attention's output and the MLP's product, which others may keep already. LLM.int8 keeps the
    input of every layer itself, with an adapter or without: dropout's copies come on top.
    """
    if not settings.is_lora:
        own_casts = settings.precision is Precision.MIXED
        layers = [linear for linear in model.linears if linear.name != "o_proj"]
        return settings.compute_bytes * sum(layer.in_features for layer in (layers if own_casts else _shared(layers)))
    targets = settings.targets(model)
    low_rank = settings.compute_bytes * settings.rank * len(targets)
    is_int8 = settings.quantization_bit == INT8
    shared = _shared([linear for linear in (model.linears if is_int8 else targets) if linear.name != "o_proj"])
    number = settings.linear_bytes if is_int8 else settings.compute_bytes
    kept = number * sum(linear.in_features for linear in shared)
    if settings.keeps_dropout:
        width = settings.compute_bytes + 1  # the mask has a byte an element
        return low_rank + width * sum(linear.in_features for linear in targets) + (kept if is_int8 else 0)
    if settings.copies_inputs:
        copies = settings.compute_bytes * sum(linear.in_features for linear in targets)
        return low_rank + copies + (kept if is_int8 else 0)
    return low_rank + kept


def _shared(layers: list[LinearShape]) -> list[LinearShape]:
    """One layer of each group that reads the same tensor: q, k and v; gate and up."""
    groups = {(is_attention(layer), layer.name == "down_proj"): layer for layer in layers}
    return list(groups.values())


def _attention(model: ModelFacts, settings: TrainSettings) -> int:
    """Queries, keys, values, output, a log-sum for each head; a mask repeats keys and values for each query head.

    Compiled, packs with a mask took 0 to 4 bytes more for each hidden number, on H200s: half of that is assumed.
    Without fused kernels the output is another tensor than o_proj's input, and is not kept.
    """
    keys = model.q_size if settings.has_mask else model.kv_size
    kept = settings.compute_bytes * model.hidden_size if settings.is_compiled and settings.has_mask else 0
    return settings.compute_bytes * 2 * (model.q_size + keys) + _FP32 * model.num_heads + kept


def _mlp(model: ModelFacts, settings: TrainSettings) -> int:
    """Gate and up projections; without Liger also the activated gate."""
    return settings.linear_bytes * (2 if settings.fuses_layers else 3) * model.intermediate_size


def _experts(model: ModelFacts, settings: TrainSettings) -> int:
    """Routed copies of a token: gate, up, activated gate and the weighted result for each expert that it passes."""
    width, hidden = model.intermediate_size, model.hidden_size
    routed = model.experts_per_token * (3 * width + hidden)
    trained = 0 if settings.is_lora else model.experts_per_token * (width + hidden)
    shared = 3 * model.shared_experts_size
    return settings.compute_bytes * (routed + trained + shared) + 2 * _FP32 * model.num_experts


def _working(model: ModelFacts, settings: TrainSettings) -> int:
    """At the MLP's last matrix: product, casts of it, and results of the hidden size."""
    compute, hidden = settings.compute_bytes, model.hidden_size
    width = model.experts_per_token * model.intermediate_size if model.is_moe else model.intermediate_size
    adapted = any(linear.name == "down_proj" for linear in settings.targets(model))
    if not settings.is_lora or not adapted:
        return compute * (width + hidden * (1 if settings.precision is not Precision.MIXED else 2))
    if not settings.copies_inputs:
        return compute * ((width if settings.keeps_dropout else 0) + 4 * hidden)
    after_cast = compute * width + _FP32 * width + 4 * compute * hidden
    in_dropout = compute * width + 2 * _FP32 * width + 2 * compute * hidden
    return max(after_cast, in_dropout) if settings.keeps_dropout else after_cast
