"""Persistent memory, from the first update to the last: weights, gradients, optimizer states."""

from __future__ import annotations

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, TrainSettings
from lfwrap.plan.memory.estimate import MEASURED, MEASURED_ON_TWO, MemoryTerm

GRADIENTS_SHARED = 2  # the ZeRO stage from which processes share gradients and optimizer states
WEIGHTS_SHARED = 3
# Fitted on the calibration half of benchmarks/memory.
_WORKSPACE_BYTES = 72_000_000
_ZERO_PAPER = "DeepSpeed's documentation of ZeRO"


def weights_bytes(model: ModelFacts, settings: TrainSettings) -> int:
    """Bytes of the base model in memory, before any sharding.

    NF4 has 4 bits a weight of the linear layers, and for each block of 64 an fp32 scale, which double quantisation cuts
    to a byte and 4 ÷ 256 bytes (QLoRA, section 3). LLM.int8 has a byte a weight and an fp32 scale for each output.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> weights_bytes(sample_model(), TrainSettings("lora", 4, 1024, rank=8)) == 2 * 7_615_616_512
        True
    """
    number = settings.weight_bytes
    if not settings.quantization_bit:
        return number * model.parameters
    rows = model.num_layers * sum(linear.out_features for linear in model.linears)
    if settings.quantization_bit == INT8:
        quantized = model.linear_weights + 4 * rows
    else:
        scale = (1 + 4 / 256) / 64 if settings.double_quantization else 4 / 64
        quantized = int(model.linear_weights * (0.5 + scale))
    return quantized + number * (model.parameters - model.linear_weights)


def adapter_bytes(model: ModelFacts, settings: TrainSettings) -> int:
    """Bytes of the adapter's weights, in memory and in a checkpoint: rank × Σ(in + out) of the targets × their type.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> one_layer = 2 * (3584 + 3584) + 2 * (3584 + 512) + 3 * (3584 + 18944)
        >>> adapter_bytes(sample_model(), TrainSettings("lora", 4, 1024, rank=8)) == 4 * 8 * 28 * one_layer
        True
    """
    return settings.adapter_parameters(model) * settings.trainable_bytes


def shards(settings: TrainSettings, stage: int) -> int:
    """The number of processes that share what ZeRO shares from ``stage`` on; 1 where the stage in use is lower.

    Example:
        >>> settings = TrainSettings("full", 1, 1024, world_size=8, zero_stage=2)
        >>> shards(settings, GRADIENTS_SHARED), shards(settings, WEIGHTS_SHARED)
        (8, 1)
    """
    return settings.world_size if (settings.zero_stage or 0) >= stage else 1


def persistent_terms(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """The terms that one GPU holds from the first update to the last.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> terms = persistent_terms(sample_model(), TrainSettings("lora", 4, 1024, rank=8, accumulation=4))
        >>> [term.name for term in terms]
        ['base weights', 'adapter weights', 'optimizer states', 'gradients', 'workspaces']
    """
    holds = MEASURED_ON_TWO if settings.is_sharded else MEASURED
    in_ram = settings.offload and settings.zero_stage == WEIGHTS_SHARED
    parts = shards(settings, WEIGHTS_SHARED)
    weights = 0 if in_ram else weights_bytes(model, settings) // parts
    adapter = 0 if in_ram else adapter_bytes(model, settings) // parts
    kept = "PEFT; LLaMA-Factory keeps trainable weights in fp32 unless pure_bf16"
    formula = f"rank × (in + out) of each target × {settings.trainable_bytes} bytes"
    return [
        MemoryTerm("base weights", weights, _weights_formula(settings), _weights_source(settings), holds),
        MemoryTerm("adapter weights", adapter, formula, kept, holds),
        _optimizer_term(model, settings),
        *gradient_terms(model, settings),
        *_communication_terms(model, settings),
        MemoryTerm("workspaces", _WORKSPACE_BYTES, "cuBLAS: twice 32 MiB, and small tensors", "fitted"),
    ]


def _optimizer_term(model: ModelFacts, settings: TrainSettings) -> MemoryTerm:
    size = settings.optimizer_bytes * settings.trainable_parameters(model) / shards(settings, GRADIENTS_SHARED)
    formula = f"{settings.optimizer_bytes:g} bytes a trainable number"
    if not settings.is_sharded:
        source = f"{settings.optimizer}: moments in the type of the weights"
        return MemoryTerm("optimizer states", int(size), formula, source)
    size = 0 if settings.offload else size
    formula += ", fp32 weights included, ÷ processes"
    return MemoryTerm("optimizer states", int(size), formula, _ZERO_PAPER, MEASURED_ON_TWO)


def gradient_terms(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """The persistent gradients; none where an update has one micro-batch, whose gradients come as activations go.

    Example:
        >>> from lfwrap.plan.sample import sample_model
        >>> settings = TrainSettings("lora", 4, 1024, rank=8, accumulation=4)
        >>> [term.bytes for term in gradient_terms(sample_model(), settings)] == [4 * 20_185_088]
        True
    """
    if settings.accumulation == 1 and settings.zero_stage is None and settings.world_size == 1:
        return []
    parts = shards(settings, GRADIENTS_SHARED)
    formula = f"{settings.trainable_bytes} bytes a trainable number" + (" ÷ processes" if parts > 1 else "")
    size = settings.trainable_bytes * settings.trainable_parameters(model) // parts
    holds = MEASURED_ON_TWO if settings.world_size > 1 else f"{MEASURED}; kept over accumulated micro-batches"
    return [MemoryTerm("gradients", size, formula, "autograd", holds)]


def _communication_terms(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """DDP's buckets: a copy of all gradients. What ZeRO needs comes and goes, and counts as transient."""
    if settings.world_size == 1 or settings.is_sharded:
        return []
    size = settings.trainable_parameters(model) * settings.trainable_bytes
    return [MemoryTerm("gradient buckets", size, "a copy of all gradients", "torch DDP", MEASURED_ON_TWO)]


def _weights_formula(settings: TrainSettings) -> str:
    if settings.quantization_bit == INT8:
        return f"1 byte a weight of the linear layers, 4 a row; {settings.weight_bytes} a number of the rest"
    if settings.quantization_bit:
        bits = "4.13" if settings.double_quantization else "4.5"
        return f"{bits} bits a weight of the linear layers; {settings.weight_bytes} bytes a number of the rest"
    return f"parameters × {settings.weight_bytes} bytes"


def _weights_source(settings: TrainSettings) -> str:
    if settings.quantization_bit:
        return "bitsandbytes: embeddings, norms and output stay as in the checkpoint"
    return "transformers"
