"""Seconds of a micro-step and of an update. Pure arithmetic, fitted on the calibration half of benchmarks/memory.

A micro-step takes the longer of two: what the GPU computes and moves, and what Python takes to launch it (both overlap;
the fourth power joins them smoothly). The GPU's part is scaled to other GPUs by their published rates, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfwrap.hardware.profile import Gpu
from lfwrap.model.facts import ModelFacts
from lfwrap.plan.activations import layer_bytes, square_bytes
from lfwrap.plan.choices import Choices, Precision
from lfwrap.plan.lasting import INT8, WEIGHTS_SHARED, weights_bytes

MEASURED_GPU = "NVIDIA H100 80GB HBM3"
_NF4 = 4
_OVERLAP = 4
# Fitted: how many times as long as at the GPU's peak rate each kind of work takes.
_MATRICES = 1.45
_ADAPTERS = 22.3
_ATTENTION = 2.29
_TRAFFIC = 3.56
_LOGITS = 5.18
_RESTORING = 3.06
_INT8_EXTRA = 3.84
_UPDATE = 0.35
_CASTS = 1.03
# Fitted: seconds in which Python launches one pass through one layer, and each of its adapters (int8: more).
_LAYER_LAUNCH_S = 3.61e-3
_ADAPTER_LAUNCH_S = 0.366e-3
_INT8_LAUNCH_S = 0.023e-3
_TRAINED_LAUNCH_S = 0.051e-3
# Bytes that pass through memory: of a logit, of a restored NF4 weight, of a trained number at an update, of an fp32
# weight that is cast for a pass, and of its gradient as it is cast back and added.
_LOGIT_TRAFFIC = 30
_NF4_TRAFFIC = 2.5
_UPDATE_TRAFFIC = 28
_CAST_TRAFFIC, _GRADIENT_TRAFFIC = 6, 14
# Fitted on two H200s: seconds to gather one tensor for a pass through its layer, whatever its size.
_GATHER_S = 0.52e-3
# Assumed, not yet measured: bytes a second between GPUs.
_LINK_BYTES_PER_S = {"nvlink": 150e9, "pcie": 12e9}


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """How fast it goes.

    Attributes:
        micro_step_s: seconds of a micro-batch.
        step_s: seconds of an update.
        tokens_per_s: tokens of the data that all GPUs train on a second, padding left out.
        padded_tokens_per_s: tokens that pass through the model, padding included.
        basis: what the estimate rests on.
    """

    micro_step_s: float
    step_s: float
    tokens_per_s: float
    padded_tokens_per_s: float
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "micro_step_s": self.micro_step_s,
            "step_s": self.step_s,
            "tokens_per_s": self.tokens_per_s,
            "padded_tokens_per_s": self.padded_tokens_per_s,
            "basis": self.basis,
        }


def estimate_speed(
    model: ModelFacts, choices: Choices, gpu: Gpu | None, *, real_share: float = 1.0, interconnect: str = "none"
) -> SpeedEstimate | None:
    """Estimate the time of an update whose rows are as long as ``choices.seq_len_tokens``.

    Args:
        model: the model's shapes.
        choices: the settings; the length is that of a typical micro-batch here, not of the longest.
        gpu: the slowest GPU.
        real_share: the part of the tokens that is no padding.
        interconnect: how the GPUs are linked.

    Returns:
        None where the GPU's rates are unknown.
    """
    if gpu is None or not gpu.compute_flops or not gpu.bandwidth_bytes_per_s:
        return None
    micro_s = micro_step_s(model, choices, gpu)
    update_s = _UPDATE * _UPDATE_TRAFFIC * choices.trainable_parameters(model) / gpu.bandwidth_bytes_per_s
    update_s += _communication_s(model, choices, interconnect)
    step_s = choices.accumulation * micro_s + update_s
    padded = choices.world_size * choices.accumulation * choices.tokens / step_s
    basis = f"fitted on {MEASURED_GPU}"
    if gpu.name != MEASURED_GPU:
        basis += f", scaled to {gpu.name} by its published rates: not measured"
    if choices.world_size > 1:
        basis += "; communication assumed"
    return SpeedEstimate(micro_s, step_s, padded * real_share, padded, basis)


def micro_step_s(model: ModelFacts, choices: Choices, gpu: Gpu) -> float:
    """Seconds of one micro-batch, without the update.

    Raises:
        ZeroDivisionError: the GPU's rates are unknown.
    """
    gpu_s, launch_s = _gpu_s(model, choices, gpu), _launch_s(model, choices)
    return (
        float((gpu_s**_OVERLAP + launch_s**_OVERLAP) ** (1 / _OVERLAP))
        + _offload_s(model, choices)
        + _gather_s(model, choices)
    )


def _offload_s(model: ModelFacts, choices: Choices) -> float:
    """Layer inputs on their way to main memory and back."""
    if not (choices.checkpointing and choices.offload_checkpoints):
        return 0.0
    moved = 2 * model.num_layers * choices.tokens * model.hidden_size * choices.residual_bytes
    return moved / _LINK_BYTES_PER_S["pcie"]


def _passes(choices: Choices) -> int:
    """Passes through the layers: forward, backward, and forward again under checkpointing."""
    return 3 if choices.checkpointing else 2


def _layer_weights(model: ModelFacts) -> int:
    """Weights of all layers that a token is multiplied with."""
    linear = model.num_layers * sum(layer.weights for layer in model.linears)
    return linear + (model.expert_parameters * model.experts_per_token // model.num_experts if model.is_moe else 0)


def _gpu_s(model: ModelFacts, choices: Choices, gpu: Gpu) -> float:
    flops = _MATRICES * _matrix_flops(model, choices) + _ADAPTERS * _adapter_flops(model, choices)
    flops += _ATTENTION * _attention_flops(model, choices)
    if choices.quantization_bit == INT8:
        flops += _INT8_EXTRA * 2 * choices.tokens * _layer_weights(model) * (_passes(choices) - 1)
    return flops / gpu.compute_flops + _moved_bytes(model, choices) / gpu.bandwidth_bytes_per_s


def _matrix_flops(model: ModelFacts, choices: Choices) -> float:
    """Two a weight and token each pass, two more where weights are trained; the output layer is not recomputed."""
    trained = 0 if choices.is_lora else 1
    layers = _layer_weights(model) * (_passes(choices) + trained)
    return 2.0 * choices.tokens * (layers + model.embedding_parameters * (2 + trained))


def _adapter_flops(model: ModelFacts, choices: Choices) -> float:
    return 2.0 * choices.tokens * choices.adapter_parameters(model) * (_passes(choices) + 1)


def _attention_flops(model: ModelFacts, choices: Choices) -> float:
    """Scores and values, half of them where the causal half is skipped; backward takes 2.5 times the forward."""
    if choices.attended_tokens:
        length = 0.5 * choices.attended_tokens
    else:
        length = choices.seq_len_tokens * (1.0 if choices.has_mask else 0.5)
    return 4.0 * choices.tokens * length * model.q_size * model.num_layers * (_passes(choices) + 1.5)


def _moved_bytes(model: ModelFacts, choices: Choices) -> float:
    layer = layer_bytes(model, choices)
    square = square_bytes(model, choices) if model.attention_softcap else 0
    kept = choices.tokens * (layer.saved + layer.working) + square
    moved = _TRAFFIC * model.num_layers * kept * _passes(choices)
    if not choices.is_lora and choices.precision is Precision.MIXED:
        moved += _CASTS * model.text_parameters * (_CAST_TRAFFIC * _passes(choices) + _GRADIENT_TRAFFIC)
    if not choices.liger:
        moved += _LOGITS * _LOGIT_TRAFFIC * choices.tokens * model.vocab_size
    if choices.quantization_bit == _NF4:
        moved += _RESTORING * _NF4_TRAFFIC * model.linear_weights * _passes(choices)
    return moved


def _launch_s(model: ModelFacts, choices: Choices) -> float:
    each = _ADAPTER_LAUNCH_S + (_INT8_LAUNCH_S if choices.quantization_bit == INT8 else 0.0)
    casts = 0.0 if choices.precision is Precision.PURE else _TRAINED_LAUNCH_S * len(model.linears)
    extra = each * len(choices.targets(model)) if choices.is_lora else casts
    return model.num_layers * _passes(choices) * (_LAYER_LAUNCH_S + extra)


def _gather_s(model: ModelFacts, choices: Choices) -> float:
    """ZeRO-3 gathers every tensor of a layer before each pass, one after the other."""
    if choices.zero_stage != WEIGHTS_SHARED or choices.world_size == 1:
        return 0.0
    tensors = sum(1 + linear.bias for linear in model.linears) + model.norms_per_layer + 2 * len(choices.targets(model))
    return _GATHER_S * model.num_layers * _passes(choices) * tensors


def _communication_s(model: ModelFacts, choices: Choices, interconnect: str) -> float:
    """All-reduce of the gradients an update; with ZeRO-3 the weights travel in each pass of each micro-batch, too."""
    if choices.world_size == 1:
        return 0.0
    link = _LINK_BYTES_PER_S.get(interconnect, _LINK_BYTES_PER_S["pcie"])
    moved = 2.0 * choices.trainable_bytes * choices.trainable_parameters(model)
    if choices.zero_stage == WEIGHTS_SHARED:
        moved += weights_bytes(model, choices) * _passes(choices) * choices.accumulation
    return moved * (choices.world_size - 1) / choices.world_size / link
