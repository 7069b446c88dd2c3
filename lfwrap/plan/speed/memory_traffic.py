"""Memory traffic: bytes that a GPU reads from its memory and writes to it in a step, counted from the code that runs.

Products of large matrices are bound by arithmetic. Everything between them (norms, casts, dropout, additions,
activations, the loss) is bound by memory, and takes its bytes ÷ the bandwidth. They are counted operation by operation
from transformers 5's decoder layers, PEFT's LoRA layers, bitsandbytes' and Liger's kernels, and lfwrap's own extension.
"r2 w4" stands for 2 bytes read and 4 bytes written for each element.
"""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, NF4, Precision, TrainSettings
from lfwrap.plan.memory.activations import fused_loss_rows

_FP32 = 4


@dataclass(frozen=True, slots=True)
class Passes:
    """An amount of the forward pass and one of the backward pass: bytes, operations or seconds.

    Attributes:
        forward: amount of one forward pass.
        backward: amount of one backward pass.
    """

    forward: float
    backward: float

    def __add__(self, other: Passes) -> Passes:
        """The sum of two amounts, pass by pass."""
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def times(self, factor: float) -> Passes:
        """The amounts of both passes multiplied by ``factor``."""
        return Passes(self.forward * factor, self.backward * factor)


def layer_traffic(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Bytes of one decoder layer for each token, without what grows with the square of the length.

    Example:
        Trained in bf16 with Liger: norms (r2 w2, two of h numbers), two additions (r2 r2 w2), rotations of q and kv
        numbers (r2 w2), attention (q, k, v and output read and written), and the MLP's product (r2 r2 w2 of w).

        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("full", 4, 1024, precision=Precision.PURE, liger=True)
        >>> h, q, kv, w = 3584, 3584, 512, 18944
        >>> layer_traffic(sample_model(), settings).forward == (8 + 12) * h + 4 * (q + kv) + 8 * q + 4 * kv + 6 * w
        True
    """
    parts = [_norms(model, settings), _residuals(model, settings), _attention(model, settings), _mlp(model, settings)]
    parts.append(_adapters(model, settings) if settings.is_lora else _casts_of_inputs(model, settings))
    if settings.quantization_bit == INT8:
        parts.append(_int8(model))
    return Passes(sum(part.forward for part in parts), sum(part.backward for part in parts))


def square_traffic(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Bytes of one layer's attention weights, where they pass through memory: Gemma 2 caps them, without fused kernels.

    Forward: scores, scaling, cap (three passes), mask, fp32 softmax, its 16-bit copy, the product's read; backward
    similarly.

    Example:
        Qwen2.5 has fused kernels; in Gemma 2 bf16 weights take 32 bytes for each pair of tokens and head.

        >>> from lfwrap.model.shapes import catalog_model
        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 1, 1024, rank=8)
        >>> square_traffic(sample_model(), settings).forward
        0
        >>> gemma = catalog_model("gemma-2-2b")
        >>> square_traffic(gemma, settings).forward == 32 * 1024**2 * gemma.num_heads
        True
    """
    if not model.attention_softcap:
        return Passes(0, 0)
    entries = settings.micro_batch * settings.seq_len_tokens**2 * model.num_heads
    return Passes((11 * settings.compute_bytes + 10) * entries, (14 * settings.compute_bytes + 24) * entries)


def weight_traffic(model: ModelFacts, settings: TrainSettings, layer_weights: int) -> Passes:
    """Bytes of all weights that are cast, restored, or get a gradient; embeddings count once, in the backward pass.

    Autocast casts trained fp32 weights for each pass (r4 w2); their gradients come in 16 bit, are cast (w2 r2 w4) and
    added up (r4 r4 w4). NF4 weights are restored to 16 bit (r0.5 w2), or with an fp32 checkpoint to fp32 and then cast
    (r0.5 w4 r4 w2); int8 ones for the backward pass only, cast and scaled (r1 w2 r2 w2). Frozen weights of another type
    than autocast's are cast in the forward pass; the extension keeps no copy, and casts again in the backward pass.

    Args:
        model: the model's shapes.
        settings: the settings.
        layer_weights: weights of all layers that a token is multiplied with.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> model = sample_model()
        >>> settings = TrainSettings("lora", 4, 1024, rank=8, quantization_bit=4)
        >>> weight_traffic(model, settings, model.linear_weights).forward == 2.5 * model.linear_weights
        True
    """
    cast = settings.checkpoint_bytes + settings.compute_bytes if settings.is_recast else 0
    if settings.quantization_bit == NF4:
        each = 0.5 + (settings.checkpoint_bytes if settings.is_recast else settings.compute_bytes) + cast
        return Passes(each * model.linear_weights, each * model.linear_weights)
    if settings.quantization_bit == INT8:
        return Passes(0, 7 * model.linear_weights)
    if settings.is_lora:
        return Passes(cast * layer_weights, cast * layer_weights if settings.fuses_adapters else 0)
    mixed = settings.precision is Precision.MIXED
    number = settings.trainable_bytes
    gradient = 3 * number + (8 if mixed else number)
    dense = (5 + 3 * model.tied_embeddings) * number  # zeroed, filled, added up; joined by the tied output layer's
    return Passes(6 * layer_weights if mixed else 0, gradient * layer_weights + dense * model.embedding_parameters)


def logits_traffic(model: ModelFacts, settings: TrainSettings) -> float:
    """Bytes of transformers' loss over all logits at once.

    Forward: logits (w2), their fp32 copy (r2 w4), log-softmax (r4 r4 w4), the loss. Backward: its gradient (w4),
    through the log-softmax (r4 r4 r4 r4 w4), to 16 bit (r4 w2), into the product (r2). Gemma also caps them (r2 w2,
    three times, and back).

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> logits_traffic(sample_model(), TrainSettings("lora", 4, 1024, rank=8)) == 52 * 4 * 1024 * 152_064
        True
    """
    cap = 26 if model.logit_softcap else 0
    return float(settings.tokens * model.vocab_size * (52 + cap))


def fused_loss_traffic(model: ModelFacts, settings: TrainSettings) -> float:
    """Bytes of Liger's fused loss: for every chunk of tokens the whole output layer passes through memory again.

    A frozen output layer is read twice (r2 r2); of another type than autocast's, it is cast for each chunk, by the
    extension once for all chunks. Trained in fp32 it is also cast (r4 w2), and its gradient is added up (r4 w4) and
    scaled at the end; trained in 16 bit its gradient takes r2 w2. A logit is written, read twice, overwritten by its
    gradient, and read.

    Example:
        4,096 tokens are 32 chunks of 128 (`fused_loss_rows`).

        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 4, 1024, rank=8, liger=True)
        >>> output_layer, logits = 152_064 * 3584, 4096 * 152_064
        >>> fused_loss_traffic(sample_model(), settings) == 32 * 4 * output_layer + 5 * 2 * logits
        True
    """
    chunks = -(-settings.tokens // fused_loss_rows(model, settings))
    compute = settings.compute_bytes
    each = 2 * compute
    if settings.is_lora and settings.is_recast and not settings.is_extended:
        each += 2 * (settings.checkpoint_bytes + compute)
    if not settings.is_lora:
        each += 2 * settings.trainable_bytes + (6 if settings.precision is Precision.MIXED else 0)
    logits = settings.tokens * model.vocab_size * compute * (5 if settings.is_lora else 6)
    return float(chunks * each * model.embedding_parameters + logits)


def update_traffic(model: ModelFacts, settings: TrainSettings) -> float:
    """Bytes of an update: AdamW reads and writes weight and two moments and reads the gradient; clipping adds three.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> update_traffic(sample_model(), TrainSettings("lora", 4, 1024, rank=8)) == 10 * 4 * 20_185_088
        True
    """
    return float(10 * settings.trainable_bytes * settings.trainable_parameters(model))


def _norms(model: ModelFacts, settings: TrainSettings) -> Passes:
    """RMS norms: Liger reads and writes; transformers copies to fp32, squares, averages, scales, copies, weighs."""
    widths = model.norms_per_layer * model.hidden_size
    heads = model.q_size + model.kv_size if model.qk_norm else 0
    forward = widths * _norm_bytes(settings, settings.residual_bytes) + heads * _norm_bytes(
        settings, settings.compute_bytes
    )
    return Passes(forward, forward * (1.5 if settings.fuses_layers else 2))


def _norm_bytes(settings: TrainSettings, number: int) -> int:
    if settings.fuses_layers:
        return 2 * number
    copies = 2 * (number + _FP32) if number < _FP32 else 0
    return 5 * _FP32 + 2 * number + copies


def _residuals(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Two additions (r r w) in the forward pass, and two in the backward pass where the gradients join."""
    size = 2 * 3 * settings.residual_bytes * model.hidden_size
    return Passes(size, size)


def _attention(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Rotation (five passes, by Liger one), queries, keys, values and output once, and the output made contiguous."""
    compute, q, kv = settings.compute_bytes, model.q_size, model.kv_size
    rotation = (2 if settings.fuses_layers else 10) * compute * (q + kv)
    inside = compute * (4 * q + 2 * kv)
    repeated = 2 * compute * (q + kv) if settings.has_mask else 0
    return Passes(rotation + inside + repeated, rotation + 2 * inside + repeated)


def _mlp(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Activation and product: r r w and r r r w w by Liger; else r w, r r w, and back. Experts gather and scatter."""
    width = (model.experts_per_token if model.is_moe else 1) * model.intermediate_size
    sizes = Passes(3, 5) if settings.fuses_layers else Passes(5, 9)
    inside = sizes.times(settings.compute_bytes * width)
    if not model.is_moe:
        return inside
    return inside + Passes(4, 6).times(settings.compute_bytes * model.experts_per_token * model.hidden_size)


def _casts_of_inputs(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Trained layers: autocast casts the fp32 input of q, k, v, gate and up (r4 w2), and back; gradients are added."""
    if settings.residual_bytes < _FP32:
        return Passes(0, 3 * 3 * settings.residual_bytes * model.hidden_size)
    return Passes(5 * 6 * model.hidden_size, (5 * 6 + 3 * 3 * _FP32) * model.hidden_size)


def _adapters(model: ModelFacts, settings: TrainSettings) -> Passes:
    """Adapters, and the sum of the gradients of the inputs that q, k and v, and gate and up, have in common.

    PEFT casts the input to fp32 and back (bitsandbytes' layers do not), applies dropout (r w and a mask's byte), and
    scales and adds the branch in separate passes. Compiled, casts and dropout are one pass, scaling and addition
    another, in 16 bit. The extension adds inside of the products and applies dropout where it reads: the input is read
    for A and its gradient, the output and the input's gradient are read and written once more.
    """
    compute, targets = settings.compute_bytes, settings.targets(model)
    wide, narrow = sum(each.in_features for each in targets), sum(each.out_features for each in targets)
    joined = 3 * 3 * compute * model.hidden_size
    if settings.fuses_adapters:
        return Passes(compute * (wide + 2 * narrow), compute * (3 * wide + 2 * narrow) + joined)
    casts_apart = settings.casts_inputs and not settings.is_compiled
    number = _FP32 if casts_apart else compute
    casts = 2 * (compute + _FP32) if casts_apart else 0
    dropout = 2 * number + 1 if settings.dropout else 0
    clone = 2 * compute if settings.quantization_bit == NF4 else 0
    branch = 4 if settings.is_compiled else 6
    forward = wide * (compute + casts + dropout) + narrow * (branch * compute + clone)
    return Passes(forward, wide * (5 * compute + casts + dropout) + narrow * 4 * compute + joined)


def _int8(model: ModelFacts) -> Passes:
    """LLM.int8: the input is cast (r2 w2), searched for outliers (r2 w2 r2 w1 r1) and quantised (r2 w1).

    The product is written in 32 bit and restored (w4 r4 w2), cast (r2 w2).
    """
    return Passes(sum(15 * linear.in_features + 14 * linear.out_features for linear in model.linears), 0)
