"""Seconds of a micro-step and of an update, by a model fitted on the calibration half of benchmarks/memory.

A micro-step takes the longer of two times that overlap: the GPU's, and Python's to launch the kernels. They are joined
smoothly, as the fourth root of the sum of their fourth powers. The GPU's time is the sum of the products, at a part of
its peak rate, and of the memory traffic between them (`memory_traffic`), at a part of its bandwidth. Other GPUs are
scaled by their published rates, and the estimate says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lfwrap.hardware.profile import Gpu
from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, NF4, Precision, TrainSettings
from lfwrap.plan.memory.activations import fused_loss_rows
from lfwrap.plan.memory.persistent import GRADIENTS_SHARED, WEIGHTS_SHARED, shards, weights_bytes
from lfwrap.plan.speed.memory_traffic import (
    Passes,
    fused_loss_traffic,
    layer_traffic,
    logits_traffic,
    square_traffic,
    update_traffic,
    weight_traffic,
)

MEASURED_GPUS = frozenset({"NVIDIA H100 80GB HBM3", "NVIDIA H200"})
_OVERLAP = 4
_MEASURED_WORLD = 2
_HOPPER = (9, 0)
# Assumed: bytes a second between GPUs. On two H200s (NVLink) it does not decide; PCIe was not measured.
_LINK_BYTES_PER_S = {"nvlink": 150e9, "pcie": 12e9}
# Llama and Qwen2 have two norms a layer; a further one takes 6 operations, attention in transformers' own code 11 more.
_USUAL_NORMS, _NORM_OPERATIONS, _EAGER_OPERATIONS = 2, 6, 11
# Liger's fused loss: six launches a chunk, about 10 µs each.
_CHUNK_S = 60e-6
# Assumed: the extension's function is one operation of autograd instead of about nine, with Triton's launches inside.
_FUSED_SHARE = 0.5
# Fitted on a 0.5B model on an H200: a compiled layer has fewer kernels, and Python launches them in one go.
_COMPILED_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class SpeedConstants:
    """The fitted constants of the time model, from benchmarks/memory/fit_speed.py; nothing else is fitted.

    The first ones say how many times as long work takes as at the GPU's published peak rates.

    Attributes:
        matrices: products of weights.
        attention: the fused causal kernel.
        masked_attention: the kernel that takes a mask.
        traffic: memory traffic between products.
        logits: the loss over all logits at once.
        restoring: restoring quantised weights to 16 bit.
        layer_forward_s: seconds to launch one forward pass of a layer of Llama or Qwen2.
        layer_backward_s: seconds to launch its backward pass.
        operation_s: seconds of a further operation, for each layer and pass.
        liger_launch_s: seconds that Liger's kernels, launched from Python, take longer than torch's, for each layer and
            pass.
        adapter_forward_s: seconds to launch the forward pass of an adapter.
        adapter_backward_s: seconds to launch the backward pass of an adapter.
        nf4_launch_s: extra seconds of an NF4 layer, for each pass.
        int8_launch_s: extra seconds of an int8 layer, for each pass.
        cast_launch_s: extra seconds of a trained fp32 layer, for each pass.
        micro_step_launch_s: seconds of the rest of a micro-step: collating, embedding, loss, clipping.
        pack_s: seconds to put a micro-batch of packs together.
        mask_entry_s: seconds to make an entry of its block mask, on the CPU.
        gather_s: seconds to gather one tensor under ZeRO-3, whatever its size.
    """

    matrices: float = 1.32
    attention: float = 1.96
    masked_attention: float = 5.5
    traffic: float = 1.45
    logits: float = 2.09
    restoring: float = 1.9
    layer_forward_s: float = 1.56e-3
    layer_backward_s: float = 4.12e-3
    operation_s: float = 0.0128e-3
    liger_launch_s: float = 0.35e-3
    adapter_forward_s: float = 0.213e-3
    adapter_backward_s: float = 0.198e-3
    nf4_launch_s: float = 0.218e-3
    int8_launch_s: float = 0.0841e-3
    cast_launch_s: float = 0.0569e-3
    micro_step_launch_s: float = 28.6e-3
    pack_s: float = 14.4e-3
    mask_entry_s: float = 1.81e-9
    gather_s: float = 0.565e-3


FITTED = SpeedConstants()


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """Time and throughput of a training.

    Attributes:
        micro_step_s: seconds of a micro-batch.
        step_s: seconds of an update.
        tokens_per_s: tokens of the data for each second, on all GPUs together, without padding.
        padded_tokens_per_s: the same with padding: tokens that pass through the model.
        basis: what the estimate rests on, in words.
    """

    micro_step_s: float
    step_s: float
    tokens_per_s: float
    padded_tokens_per_s: float
    basis: str

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return {
            "micro_step_s": self.micro_step_s,
            "step_s": self.step_s,
            "tokens_per_s": self.tokens_per_s,
            "padded_tokens_per_s": self.padded_tokens_per_s,
            "basis": self.basis,
        }


def estimate_speed(
    model: ModelFacts,
    settings: TrainSettings,
    gpu: Gpu | None,
    *,
    real_share: float = 1.0,
    interconnect: str = "none",
    constants: SpeedConstants = FITTED,
) -> SpeedEstimate | None:
    """Estimate the time of an update whose rows are as long as ``settings.seq_len_tokens``.

    Args:
        model: the model's shapes.
        settings: the settings; their length is that of a typical micro-batch here, not of the longest.
        gpu: the slowest GPU.
        real_share: the part of the tokens that is not padding.
        interconnect: how the GPUs are linked: ``nvlink``, ``pcie``, ``unified`` or ``none``.
        constants: the fitted constants.

    Returns:
        The estimate; None where the GPU's rates are unknown.

    Example:
        >>> from lfwrap.hardware.profile import catalog_machine
        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 4, 1024, rank=8, accumulation=8)
        >>> speed = estimate_speed(sample_model(), settings, catalog_machine("h100-80gb").gpus[0])
        >>> round(speed.tokens_per_s * speed.step_s) == 8 * 4 * 1024
        True
    """
    if gpu is None or not gpu.compute_flops or not gpu.bandwidth_bytes_per_s:
        return None
    micro_s = micro_step_s(model, settings, gpu, constants)
    update_s = _update_s(model, settings, gpu, constants) + _communication_s(model, settings, interconnect)
    step_s = settings.accumulation * micro_s + update_s
    padded = settings.world_size * settings.accumulation * settings.tokens / step_s
    basis = "fitted on H100 and H200"
    if gpu.name not in MEASURED_GPUS:
        basis += f", scaled to {gpu.name} by its published rates: not measured"
    if settings.world_size > _MEASURED_WORLD or (settings.world_size > 1 and interconnect != "nvlink"):
        basis += "; communication assumed"
    return SpeedEstimate(micro_s, step_s, padded * real_share, padded, basis)


def micro_step_s(model: ModelFacts, settings: TrainSettings, gpu: Gpu, constants: SpeedConstants = FITTED) -> float:
    """Seconds of one micro-batch, without the update.

    LLM.int8 asks in each layer of a forward pass whether there are outliers, and waits for the answer: there, launching
    and computing do not overlap.

    Raises:
        ZeroDivisionError: the GPU's rates are unknown.

    Example:
        It takes longer than the products of frozen weights at the peak rate: two forward passes under checkpointing and
        one backward pass, of two operations for each weight and token.

        >>> from lfwrap.hardware.profile import catalog_machine
        >>> from lfwrap.plan.sample import sample_model
        >>> model, gpu = sample_model(), catalog_machine("h100-80gb").gpus[0]
        >>> products = 3 * 2 * 4 * 1024 * model.linear_weights / gpu.compute_flops
        >>> products < micro_step_s(model, TrainSettings("lora", 4, 1024, rank=8), gpu) < 4 * products
        True
    """
    passes = 2 if settings.checkpointing else 1
    work = _passes_s(model, settings, gpu, constants)
    chunks = -(-settings.tokens // fused_loss_rows(model, settings)) if settings.liger else 0
    launch = _launch_s(model, settings, forward_passes=passes, chunks=chunks, constants=constants)
    forward, backward = passes * work.forward, work.backward + _loss_s(model, settings, gpu, constants)
    if settings.quantization_bit == INT8:
        compute = forward + launch.forward + _longer(backward, launch.backward)
    else:
        compute = _longer(forward + backward, launch.forward + launch.backward)
    steps = compute + _offload_s(model, settings) + _gather_s(model, settings, passes, constants)
    packing = _pack_s(settings, constants)
    return max(steps, packing / settings.loader_workers) if settings.loader_workers else steps + packing


def _longer(gpu_s: float, python_s: float) -> float:
    return float((gpu_s**_OVERLAP + python_s**_OVERLAP) ** (1 / _OVERLAP))


def _launch_s(
    model: ModelFacts, settings: TrainSettings, *, forward_passes: int, chunks: int, constants: SpeedConstants = FITTED
) -> Passes:
    """Seconds in which Python launches the kernels of a micro-step: the floor under small models and short batches.

    Fitted on hosts of H100s and H200s; a slower processor takes longer.

    Args:
        model: the model's shapes.
        settings: the settings.
        forward_passes: forward passes: two under checkpointing.
        chunks: chunks of the fused loss; 0 without it.
        constants: the fitted constants.
    """
    further = _NORM_OPERATIONS * (model.norms_per_layer + 2 * model.qk_norm - _USUAL_NORMS)
    further += _EAGER_OPERATIONS if model.attention_softcap else 0
    beside = further * constants.operation_s
    beside += constants.liger_launch_s if settings.liger and not settings.is_compiled else 0.0
    adapters, linears = len(settings.targets(model)), len(model.linears)
    each = {NF4: constants.nf4_launch_s, INT8: constants.int8_launch_s}.get(settings.quantization_bit, 0.0)
    if not settings.is_lora and settings.precision is Precision.MIXED:
        each = constants.cast_launch_s
    fused = _FUSED_SHARE if settings.fuses_adapters else 1.0
    beside += linears * each
    forward = constants.layer_forward_s + beside + adapters * fused * constants.adapter_forward_s
    backward = constants.layer_backward_s + beside + adapters * fused * constants.adapter_backward_s
    layers = model.num_layers * (_COMPILED_SHARE if settings.is_compiled else 1.0)
    loss = chunks * _CHUNK_S + constants.micro_step_launch_s
    return Passes(layers * forward_passes * forward, layers * backward + loss)


def _passes_s(model: ModelFacts, settings: TrainSettings, gpu: Gpu, constants: SpeedConstants) -> Passes:
    """Seconds that the GPU takes for one forward pass through all layers, and for the backward pass.

    Two operations for each weight and token in the forward pass, two in the backward pass, two more where the weight is
    trained. Attention's backward pass has 2.5 times the operations of its forward pass. Compiled, rows with a mask get
    cuDNN's kernel on H200s: as fast as the causal one, but it skips nothing.
    """
    weights, tokens = _layer_weights(model), settings.tokens
    product = 2.0 * tokens * constants.matrices * weights
    adapter = 2.0 * tokens * constants.matrices * settings.adapter_parameters(model)
    has_cudnn = settings.is_compiled and (gpu.compute_capability or (0, 0)) >= _HOPPER
    is_masked = settings.has_mask and not model.attention_softcap and not has_cudnn
    kernel = constants.masked_attention if is_masked else constants.attention
    attention = kernel * _attention_operations(model, settings)
    trained = 1 if settings.is_lora else 2
    operations = Passes(product + adapter + attention, trained * product + 2 * adapter + 2.5 * attention)
    moved = layer_traffic(model, settings).times(constants.traffic * tokens * model.num_layers)
    moved += square_traffic(model, settings).times(constants.traffic * model.num_layers)
    restored = constants.restoring if settings.quantization_bit else constants.traffic
    moved += weight_traffic(model, settings, weights).times(restored)
    return operations.times(1 / gpu.compute_flops) + moved.times(1 / gpu.bandwidth_bytes_per_s)


def _loss_s(model: ModelFacts, settings: TrainSettings, gpu: Gpu, constants: SpeedConstants) -> float:
    """Seconds of the output layer and the loss; small chunks are bound by reading the layer's weights."""
    trained = 2 if settings.is_lora else 3
    compute = 2.0 * trained * settings.tokens * model.embedding_parameters * constants.matrices / gpu.compute_flops
    if settings.liger:
        return max(compute, constants.traffic * fused_loss_traffic(model, settings) / gpu.bandwidth_bytes_per_s)
    return compute + constants.logits * logits_traffic(model, settings) / gpu.bandwidth_bytes_per_s


def _layer_weights(model: ModelFacts) -> int:
    """Weights of all layers that a token is multiplied with."""
    linear = model.num_layers * sum(layer.weights for layer in model.linears)
    return linear + (model.expert_parameters * model.experts_per_token // model.num_experts if model.is_moe else 0)


def _attention_operations(model: ModelFacts, settings: TrainSettings) -> float:
    """Operations of attention in one forward pass: scores and values, half of them where a causal kernel skips."""
    if settings.attended_tokens:
        length = 0.5 * settings.attended_tokens
    else:
        length = settings.seq_len_tokens * (1.0 if settings.has_mask else 0.5)
    return 4.0 * settings.tokens * length * model.q_size * model.num_layers


def _pack_s(settings: TrainSettings, constants: SpeedConstants) -> float:
    """Seconds in which the collator puts packs together and makes their block mask on the CPU, entry by entry."""
    entries = settings.micro_batch * settings.seq_len_tokens**2 if settings.has_block_mask else 0
    return (constants.pack_s if settings.packing else 0.0) + constants.mask_entry_s * entries


def _offload_s(model: ModelFacts, settings: TrainSettings) -> float:
    """Seconds in which layer inputs go to main memory and back over PCIe."""
    if not (settings.checkpointing and settings.offload_checkpoints):
        return 0.0
    moved = 2 * model.num_layers * settings.tokens * model.hidden_size * settings.residual_bytes
    return moved / _LINK_BYTES_PER_S["pcie"]


def _gather_s(model: ModelFacts, settings: TrainSettings, forward_passes: int, constants: SpeedConstants) -> float:
    """Seconds in which ZeRO-3 gathers every tensor of a layer before each pass, one after the other.

    Frozen ones stay gathered from the forward pass (the recomputed one) through the backward pass.
    """
    if settings.zero_stage != WEIGHTS_SHARED or settings.world_size == 1:
        return 0.0
    tensors = sum(1 + linear.bias for linear in model.linears) + model.norms_per_layer
    adapters = 2 * len(settings.targets(model))
    frozen_passes = forward_passes + (0 if settings.is_lora else 1)
    return constants.gather_s * model.num_layers * (tensors * frozen_passes + adapters * (forward_passes + 1))


def _update_s(model: ModelFacts, settings: TrainSettings, gpu: Gpu, constants: SpeedConstants) -> float:
    """Seconds of AdamW over all trainable numbers, or over a process's share of them."""
    moved = update_traffic(model, settings) / shards(settings, GRADIENTS_SHARED)
    return constants.traffic * moved / gpu.bandwidth_bytes_per_s


def _communication_s(model: ModelFacts, settings: TrainSettings, interconnect: str) -> float:
    """Seconds in which gradients are all-reduced; with ZeRO-3 also the weights, in each pass of each micro-batch."""
    if settings.world_size == 1:
        return 0.0
    link = _LINK_BYTES_PER_S.get(interconnect, _LINK_BYTES_PER_S["pcie"])
    moved = 2.0 * settings.trainable_bytes * settings.trainable_parameters(model)
    if settings.zero_stage == WEIGHTS_SHARED:
        passes = 3 if settings.checkpointing else 2
        moved += weights_bytes(model, settings) * passes * settings.accumulation
    return moved * (settings.world_size - 1) / settings.world_size / link
