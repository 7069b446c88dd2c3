"""Seconds of a micro-step and of an update. Pure arithmetic, fitted on the calibration half of benchmarks/memory.

A micro-step takes the longer of two: what the GPU computes and moves, and what Python takes to launch it (both overlap;
the fourth power joins them smoothly). The GPU's part is the sum of products, at a part of its peak rate, and of all
that passes through its memory between them, at a part of its bandwidth (`traffic`), so other GPUs are scaled by their
published rates, which is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfwrap.hardware.profile import Gpu
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, Choices
from lfwrap.plan.memory.persistent import GRADIENTS_SHARED, WEIGHTS_SHARED, shards, weights_bytes
from lfwrap.plan.memory.traffic import (
    Passes,
    fused_loss_rows,
    fused_loss_traffic,
    layer_traffic,
    logits_traffic,
    square_traffic,
    update_traffic,
    weight_traffic,
)
from lfwrap.plan.speed.constants import FITTED, SpeedConstants
from lfwrap.plan.speed.kernel_launch import launch_s

MEASURED_GPUS = frozenset({"NVIDIA H100 80GB HBM3", "NVIDIA H200"})
_OVERLAP = 4
_MEASURED_WORLD = 2
_HOPPER = (9, 0)
# Assumed: bytes a second between GPUs. On two H200s (NVLink) it does not decide; PCIe was not measured.
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
    model: ModelFacts,
    choices: Choices,
    gpu: Gpu | None,
    *,
    real_share: float = 1.0,
    interconnect: str = "none",
    constants: SpeedConstants = FITTED,
) -> SpeedEstimate | None:
    """Estimate the time of an update whose rows are as long as ``choices.seq_len_tokens``.

    Args:
        model: the model's shapes.
        choices: the settings; the length is that of a typical micro-batch here, not of the longest.
        gpu: the slowest GPU.
        real_share: the part of the tokens that is no padding.
        interconnect: how the GPUs are linked.
        constants: how fast this kind of work goes.

    Returns:
        None where the GPU's rates are unknown.
    """
    if gpu is None or not gpu.compute_flops or not gpu.bandwidth_bytes_per_s:
        return None
    micro_s = micro_step_s(model, choices, gpu, constants)
    update_s = _update_s(model, choices, gpu, constants) + _communication_s(model, choices, interconnect)
    step_s = choices.accumulation * micro_s + update_s
    padded = choices.world_size * choices.accumulation * choices.tokens / step_s
    basis = "fitted on H100 and H200"
    if gpu.name not in MEASURED_GPUS:
        basis += f", scaled to {gpu.name} by its published rates: not measured"
    if choices.world_size > _MEASURED_WORLD or (choices.world_size > 1 and interconnect != "nvlink"):
        basis += "; communication assumed"
    return SpeedEstimate(micro_s, step_s, padded * real_share, padded, basis)


def micro_step_s(model: ModelFacts, choices: Choices, gpu: Gpu, constants: SpeedConstants = FITTED) -> float:
    """Seconds of one micro-batch, without the update.

    LLM.int8 asks at each layer of a forward pass whether there are outliers, and waits for the answer: there, launching
    and computing do not overlap.

    Raises:
        ZeroDivisionError: the GPU's rates are unknown.
    """
    passes = 2 if choices.checkpointing else 1
    work = _passes_s(model, choices, gpu, constants)
    chunks = -(-choices.tokens // fused_loss_rows(model, choices)) if choices.liger else 0
    launch = launch_s(model, choices, forward_passes=passes, chunks=chunks, constants=constants)
    forward, backward = passes * work.forward, work.backward + _loss_s(model, choices, gpu, constants)
    if choices.quantization_bit == INT8:
        compute = forward + launch.forward + _longer(backward, launch.backward)
    else:
        compute = _longer(forward + backward, launch.forward + launch.backward)
    steps = compute + _offload_s(model, choices) + _gather_s(model, choices, passes, constants)
    packing = _pack_s(choices, constants)
    return max(steps, packing / choices.loader_workers) if choices.loader_workers else steps + packing


def _longer(gpu_s: float, python_s: float) -> float:
    return float((gpu_s**_OVERLAP + python_s**_OVERLAP) ** (1 / _OVERLAP))


def _passes_s(model: ModelFacts, choices: Choices, gpu: Gpu, constants: SpeedConstants) -> Passes:
    """Seconds that the GPU takes for one forward pass through all layers, and for the backward pass.

    Two operations a weight and token forward, two backward, two more where the weight is trained. Attention's backward
    pass takes 2.5 times the forward one's. Compiled, rows with a mask get cuDNN's kernel on H200s: as fast as the
    causal one, but it skips nothing.
    """
    weights, tokens = _layer_weights(model), choices.tokens
    product = 2.0 * tokens * constants.matrices * weights
    adapter = 2.0 * tokens * constants.matrices * choices.adapter_parameters(model)
    has_cudnn = choices.is_compiled and (gpu.compute_capability or (0, 0)) >= _HOPPER
    is_masked = choices.has_mask and not model.attention_softcap and not has_cudnn
    kernel = constants.masked_attention if is_masked else constants.attention
    attention = kernel * _attention_operations(model, choices)
    trained = 1 if choices.is_lora else 2
    operations = Passes(product + adapter + attention, trained * product + 2 * adapter + 2.5 * attention)
    moved = layer_traffic(model, choices).times(constants.traffic * tokens * model.num_layers)
    moved += square_traffic(model, choices).times(constants.traffic * model.num_layers)
    restored = constants.restoring if choices.quantization_bit else constants.traffic
    moved += weight_traffic(model, choices, weights).times(restored)
    return operations.times(1 / gpu.compute_flops) + moved.times(1 / gpu.bandwidth_bytes_per_s)


def _loss_s(model: ModelFacts, choices: Choices, gpu: Gpu, constants: SpeedConstants) -> float:
    """The output layer and the loss: chunks too small for the GPU's units are bound by reading the layer's weights."""
    trained = 2 if choices.is_lora else 3
    compute = 2.0 * trained * choices.tokens * model.embedding_parameters * constants.matrices / gpu.compute_flops
    if choices.liger:
        return max(compute, constants.traffic * fused_loss_traffic(model, choices) / gpu.bandwidth_bytes_per_s)
    return compute + constants.logits * logits_traffic(model, choices) / gpu.bandwidth_bytes_per_s


def _layer_weights(model: ModelFacts) -> int:
    """Weights of all layers that a token is multiplied with."""
    linear = model.num_layers * sum(layer.weights for layer in model.linears)
    return linear + (model.expert_parameters * model.experts_per_token // model.num_experts if model.is_moe else 0)


def _attention_operations(model: ModelFacts, choices: Choices) -> float:
    """Scores and values of one forward pass, half of them where the kernel skips what comes later."""
    if choices.attended_tokens:
        length = 0.5 * choices.attended_tokens
    else:
        length = choices.seq_len_tokens * (1.0 if choices.has_mask else 0.5)
    return 4.0 * choices.tokens * length * model.q_size * model.num_layers


def _pack_s(choices: Choices, constants: SpeedConstants) -> float:
    """The collator makes the block mask of packs on the CPU, entry by entry, before the update that it is for."""
    entries = choices.micro_batch * choices.seq_len_tokens**2 if choices.has_block_mask else 0
    return (constants.pack_s if choices.packing else 0.0) + constants.mask_entry_s * entries


def _offload_s(model: ModelFacts, choices: Choices) -> float:
    """Layer inputs on their way to main memory and back."""
    if not (choices.checkpointing and choices.offload_checkpoints):
        return 0.0
    moved = 2 * model.num_layers * choices.tokens * model.hidden_size * choices.residual_bytes
    return moved / _LINK_BYTES_PER_S["pcie"]


def _gather_s(model: ModelFacts, choices: Choices, forward_passes: int, constants: SpeedConstants) -> float:
    """ZeRO-3 gathers every tensor of a layer before each pass, one after the other.

    Frozen ones stay gathered from the forward pass (the recomputed one) through the backward pass.
    """
    if choices.zero_stage != WEIGHTS_SHARED or choices.world_size == 1:
        return 0.0
    tensors = sum(1 + linear.bias for linear in model.linears) + model.norms_per_layer
    adapters = 2 * len(choices.targets(model))
    frozen_passes = forward_passes + (0 if choices.is_lora else 1)
    return constants.gather_s * model.num_layers * (tensors * frozen_passes + adapters * (forward_passes + 1))


def _update_s(model: ModelFacts, choices: Choices, gpu: Gpu, constants: SpeedConstants) -> float:
    """AdamW over what is trained, or a process's share of it."""
    moved = update_traffic(model, choices) / shards(choices, GRADIENTS_SHARED)
    return constants.traffic * moved / gpu.bandwidth_bytes_per_s


def _communication_s(model: ModelFacts, choices: Choices, interconnect: str) -> float:
    """All-reduce of the gradients an update; with ZeRO-3 the weights travel in each pass of each micro-batch, too."""
    if choices.world_size == 1:
        return 0.0
    link = _LINK_BYTES_PER_S.get(interconnect, _LINK_BYTES_PER_S["pcie"])
    moved = 2.0 * choices.trainable_bytes * choices.trainable_parameters(model)
    if choices.zero_stage == WEIGHTS_SHARED:
        passes = 3 if choices.checkpointing else 2
        moved += weights_bytes(model, choices) * passes * choices.accumulation
    return moved * (choices.world_size - 1) / choices.world_size / link
