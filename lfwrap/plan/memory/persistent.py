"""Memory that lives from the first update to the last: weights, gradients, optimizer states. Pure arithmetic."""

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
    """Bytes of the base model as it lies in memory, before any sharding."""
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
    """Bytes of the adapter's weights: what a checkpoint of it takes on disk, too."""
    return settings.adapter_parameters(model) * settings.trainable_bytes


def shards(settings: TrainSettings, stage: int) -> int:
    """Processes that share what the given ZeRO stage shares."""
    return settings.world_size if (settings.zero_stage or 0) >= stage else 1


def persistent_terms(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """What lives from the first update to the last."""
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
    """Gradients that live all through; none where an update has one micro-batch: those come as activations go."""
    if settings.accumulation == 1 and settings.zero_stage is None and settings.world_size == 1:
        return []
    parts = shards(settings, GRADIENTS_SHARED)
    formula = f"{settings.trainable_bytes} bytes a trainable number" + (" ÷ processes" if parts > 1 else "")
    size = settings.trainable_bytes * settings.trainable_parameters(model) // parts
    holds = MEASURED_ON_TWO if settings.world_size > 1 else f"{MEASURED}; kept over accumulated micro-batches"
    return [MemoryTerm("gradients", size, formula, "autograd", holds)]


def _communication_terms(model: ModelFacts, settings: TrainSettings) -> list[MemoryTerm]:
    """DDP's buckets: a copy of all gradients. What ZeRO takes comes and goes, and stands with the moments."""
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
