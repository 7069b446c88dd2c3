"""Bytes that pass through a GPU's memory, counted from the code that runs. Pure arithmetic.

Products of large matrices are bound by arithmetic; all that stands between them (norms, casts, dropout, additions,
activations, the loss) is bound by memory, and takes what it reads and writes over the bandwidth. Counted operation by
operation from transformers 5's decoder layers, PEFT's LoRA layers, bitsandbytes' and Liger's kernels, and lfwrap's own
extension. "r" and "w" in comments: bytes read and written an element.
"""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, NF4, Choices, Precision

_FP32 = 4
# As lfwrap/worker/speed/loss.py asks Liger's fused loss for chunks.
_EXTENSION_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Passes:
    """What one forward pass takes, and one backward pass: bytes, operations or seconds."""

    forward: float
    backward: float

    def __add__(self, other: Passes) -> Passes:
        """Both together."""
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def times(self, factor: float) -> Passes:
        """So many of them."""
        return Passes(self.forward * factor, self.backward * factor)


def layer_traffic(model: ModelFacts, choices: Choices) -> Passes:
    """Bytes a token of one decoder layer, without what grows with the square of the length."""
    parts = [_norms(model, choices), _residuals(model, choices), _attention(model, choices), _mlp(model, choices)]
    parts.append(_adapters(model, choices) if choices.is_lora else _casts_of_inputs(model, choices))
    if choices.quantization_bit == INT8:
        parts.append(_int8(model))
    return Passes(sum(part.forward for part in parts), sum(part.backward for part in parts))


def square_traffic(model: ModelFacts, choices: Choices) -> Passes:
    """Bytes of one layer whose attention weights pass through memory: Gemma 2 caps them, in transformers' own code.

    Forward: scores, scaling, cap (three), mask, fp32 softmax, its 16-bit copy, the product's read; backward likewise.
    """
    if not model.attention_softcap:
        return Passes(0, 0)
    entries = choices.micro_batch * choices.seq_len_tokens**2 * model.num_heads
    return Passes((11 * choices.compute_bytes + 10) * entries, (14 * choices.compute_bytes + 24) * entries)


def weight_traffic(model: ModelFacts, choices: Choices, layer_weights: int) -> Passes:
    """Bytes of all weights that are cast, restored, or given a gradient; embeddings count once, in the backward pass.

    Autocast casts trained fp32 weights for each pass (r4 w2); their gradients come in 16 bit, are cast (w2 r2 w4) and
    added up (r4 r4 w4). NF4 weights are written out in 16 bit (r0.5 w2), of an fp32 checkpoint in fp32, and cast (r0.5
    w4 r4 w2); int8 ones for the backward pass only, cast and scaled (r1 w2 r2 w2). Frozen weights of another type than
    autocast's are cast going forward; the extension keeps no copy, and casts again.
    """
    cast = choices.checkpoint_bytes + choices.compute_bytes if choices.is_recast else 0
    if choices.quantization_bit == NF4:
        each = 0.5 + (choices.checkpoint_bytes if choices.is_recast else choices.compute_bytes) + cast
        return Passes(each * model.linear_weights, each * model.linear_weights)
    if choices.quantization_bit == INT8:
        return Passes(0, 7 * model.linear_weights)
    if choices.is_lora:
        return Passes(cast * layer_weights, cast * layer_weights if choices.fuses_adapters else 0)
    mixed = choices.precision is Precision.MIXED
    number = choices.trainable_bytes
    gradient = 3 * number + (8 if mixed else number)
    dense = (5 + 3 * model.tied_embeddings) * number  # zeroed, filled, added up; joined by the tied output layer's
    return Passes(6 * layer_weights if mixed else 0, gradient * layer_weights + dense * model.embedding_parameters)


def logits_traffic(model: ModelFacts, choices: Choices) -> float:
    """Bytes of transformers' loss over all logits at once.

    Forward: logits (w2), their fp32 copy (r2 w4), log-softmax (r4 r4 w4), the loss. Backward: its gradient (w4),
    through the log-softmax (r4 r4 r4 r4 w4), to 16 bit (r4 w2), into the product (r2). Gemma caps them besides (r2 w2,
    three times, and back).
    """
    cap = 26 if model.logit_softcap else 0
    return float(choices.tokens * model.vocab_size * (52 + cap))


def fused_loss_rows(model: ModelFacts, choices: Choices) -> int:
    """Rows that Liger's fused loss takes at a time: as many logits as the hidden states have numbers.

    The extension asks for so many times as many that they are 1024 rows at the most, where Liger would not take more.
    """
    slices = -(-model.vocab_size // model.hidden_size)
    rows = 1 << max(0, (-(-choices.tokens // slices) - 1).bit_length())
    return min(choices.tokens, max(rows, _EXTENSION_ROWS) if choices.is_extended else rows)


def fused_loss_traffic(model: ModelFacts, choices: Choices) -> float:
    """Bytes of Liger's fused loss: for every chunk of rows the whole output layer passes through memory again.

    Frozen, it is read twice (r2 r2); of another type than autocast's, it is cast for each, by the extension once for
    all. Trained in fp32 it is also cast (r4 w2), and its gradient is added up (r4 w4) and scaled at the end; trained in
    16 bit the gradient is (r2 w2). A logit is written, read twice, overwritten by its gradient, and read.
    """
    chunks = -(-choices.tokens // fused_loss_rows(model, choices))
    compute = choices.compute_bytes
    each = 2 * compute
    if choices.is_lora and choices.is_recast and not choices.is_extended:
        each += 2 * (choices.checkpoint_bytes + compute)
    if not choices.is_lora:
        each += 2 * choices.trainable_bytes + (6 if choices.precision is Precision.MIXED else 0)
    logits = choices.tokens * model.vocab_size * compute * (5 if choices.is_lora else 6)
    return float(chunks * each * model.embedding_parameters + logits)


def update_traffic(model: ModelFacts, choices: Choices) -> float:
    """Bytes of an update: AdamW reads and writes weight and moments and reads the gradient; clipping adds three."""
    return float(10 * choices.trainable_bytes * choices.trainable_parameters(model))


def _norms(model: ModelFacts, choices: Choices) -> Passes:
    """RMS norms: Liger reads, writes; transformers copies to fp32, squares, averages, scales, copies back, weighs."""
    widths = model.norms_per_layer * model.hidden_size
    heads = model.q_size + model.kv_size if model.qk_norm else 0
    forward = widths * _norm_bytes(choices, choices.residual_bytes) + heads * _norm_bytes(
        choices, choices.compute_bytes
    )
    return Passes(forward, forward * (1.5 if choices.fuses_layers else 2))


def _norm_bytes(choices: Choices, number: int) -> int:
    if choices.fuses_layers:
        return 2 * number
    copies = 2 * (number + _FP32) if number < _FP32 else 0
    return 5 * _FP32 + 2 * number + copies


def _residuals(model: ModelFacts, choices: Choices) -> Passes:
    """Two additions (r r w) going forward, two where the gradients join going backward."""
    size = 2 * 3 * choices.residual_bytes * model.hidden_size
    return Passes(size, size)


def _attention(model: ModelFacts, choices: Choices) -> Passes:
    """Rotation (five passes, one by Liger), queries, keys, values and output once, and the output made contiguous."""
    compute, q, kv = choices.compute_bytes, model.q_size, model.kv_size
    rotation = (2 if choices.fuses_layers else 10) * compute * (q + kv)
    inside = compute * (4 * q + 2 * kv)
    repeated = 2 * compute * (q + kv) if choices.has_mask else 0
    return Passes(rotation + inside + repeated, rotation + 2 * inside + repeated)


def _mlp(model: ModelFacts, choices: Choices) -> Passes:
    """Activation and product: r r w and r r r w w by Liger; else r w, r r w, and back. Experts gather and scatter."""
    width = (model.experts_per_token if model.is_moe else 1) * model.intermediate_size
    sizes = Passes(3, 5) if choices.fuses_layers else Passes(5, 9)
    inside = sizes.times(choices.compute_bytes * width)
    if not model.is_moe:
        return inside
    return inside + Passes(4, 6).times(choices.compute_bytes * model.experts_per_token * model.hidden_size)


def _casts_of_inputs(model: ModelFacts, choices: Choices) -> Passes:
    """Trained layers: autocast casts q, k, v, gate and up's fp32 input each (r4 w2), and back; gradients are added."""
    if choices.residual_bytes < _FP32:
        return Passes(0, 3 * 3 * choices.residual_bytes * model.hidden_size)
    return Passes(5 * 6 * model.hidden_size, (5 * 6 + 3 * 3 * _FP32) * model.hidden_size)


def _adapters(model: ModelFacts, choices: Choices) -> Passes:
    """Adapters, and the joining of the gradients of what q, k, v, gate and up read in common.

    PEFT casts the input to fp32 and back (bitsandbytes' layers do not), drops it out (r w and a mask's byte), and
    scales and adds the branch in passes of their own. Compiled, casts and dropout are one pass, scaling and addition
    another, in 16 bit. The extension adds inside of the products and drops out where it
    reads: the input is read for A and its gradient, the output and the input's gradient read and written once more.
    """
    compute, targets = choices.compute_bytes, choices.targets(model)
    wide, narrow = sum(each.in_features for each in targets), sum(each.out_features for each in targets)
    joined = 3 * 3 * compute * model.hidden_size
    if choices.fuses_adapters:
        return Passes(compute * (wide + 2 * narrow), compute * (3 * wide + 2 * narrow) + joined)
    casts_apart = choices.casts_inputs and not choices.is_compiled
    number = _FP32 if casts_apart else compute
    casts = 2 * (compute + _FP32) if casts_apart else 0
    dropout = 2 * number + 1 if choices.dropout else 0
    clone = 2 * compute if choices.quantization_bit == NF4 else 0
    branch = 4 if choices.is_compiled else 6
    forward = wide * (compute + casts + dropout) + narrow * (branch * compute + clone)
    return Passes(forward, wide * (5 * compute + casts + dropout) + narrow * 4 * compute + joined)


def _int8(model: ModelFacts) -> Passes:
    """LLM.int8: the input is cast (r2 w2), looked through for outliers (r2 w2 r2 w1 r1) and quantised (r2 w1).

    The product is written in 32 bit and restored (w4 r4 w2), cast (r2 w2).
    """
    return Passes(sum(15 * linear.in_features + 14 * linear.out_features for linear in model.linears), 0)
