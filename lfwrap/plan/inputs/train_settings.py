"""What a training is set to, as far as memory and speed depend on it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lfwrap.model.shapes import LinearShape, ModelFacts

NF4, INT8 = 4, 8  # what quantization_bit stands for
EVAL_BATCH_KEY, DEFAULT_EVAL_BATCH = "per_device_eval_batch_size", 8
_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"})
# Bytes that AdamW and its kin keep for a trainable number; Adam keeps two moments of the parameter's type.
_OPTIMIZER_BYTES: dict[str, float] = {
    "adamw_8bit": 2.05,
    "adamw_bnb_8bit": 2.05,
    "paged_adamw_8bit": 2.05,
    "sgd": 0.0,
    "lion_8bit": 1.03,
    "adafactor": 0.01,
}


_WEIGHTS_SHARED = 3
_FP32, _BF16, _FP16 = "float32", "bfloat16", "float16"


class Precision(StrEnum):
    """How the engine computes."""

    MIXED = "mixed"  # bf16 or fp16 with trainable numbers in fp32: `bf16: true`, `fp16: true`
    PURE = "pure"  # all in bf16: `pure_bf16: true`
    FULL = "full"  # all in fp32


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings that decide memory and speed.

    Attributes:
        method: ``lora`` or ``full``.
        micro_batch: rows that one process computes at a time.
        seq_len_tokens: tokens of the longest row of a micro-batch, to which the others are padded.
        accumulation: micro-batches before an update.
        world_size: processes, one a GPU.
        quantization_bit: 4 (NF4), 8 (LLM.int8) or 0.
        double_quantization: whether NF4's scales are quantised too.
        rank: of the adapter.
        target: ``all`` or module names, as ``lora_target`` takes them.
        dropout: of the adapter's input.
        use_dora: whether the adapter learns magnitudes too.
        precision: how the engine computes.
        checkpoint_bytes: bytes of a number of the checkpoint; frozen weights stay as they are there.
        is_recast: whether autocast computes in another type than the checkpoint's: frozen weights are cast for each
            product, and embeddings, norms and all that passes between layers are fp32.
        liger: whether Liger's kernels replace norms, MLP products and the loss.
        is_compiled: whether each layer is compiled (`torch_compile`); of Liger only the loss is left then.
        checkpointing: whether layers are recomputed in the backward pass.
        offload_checkpoints: whether the kept layer inputs go to main memory (`use_unsloth_gc`).
        packing: whether short rows share a sequence, kept apart by a block mask (`neat_packing`).
        padded: whether a micro-batch has padding, which takes a mask: its rows differ in length, or theirs is no
            multiple of 8.
        optimizer: the engine's name for it.
        zero_stage: DeepSpeed's ZeRO stage; None for plain training or DDP.
        offload: whether ZeRO keeps optimizer states (and weights, stage 3) in main memory.
        fused_attention: whether the GPU has fused attention kernels for grouped queries.
        eval_batch: rows that one process evaluates at a time; 0 where nothing is evaluated.
        loader_workers: processes that make micro-batches ahead; without any, the training process makes them itself.
        attended_tokens: how far a token looks where rows that share a sequence attend to themselves alone; else 0.
        is_extended: whether lfwrap's extension computes adapters and loss (`speed: max`).
        is_padding_free: whether it also lays the rows of a micro-batch one behind the other, without padding and masks.
    """

    method: str
    micro_batch: int
    seq_len_tokens: int
    accumulation: int = 1
    world_size: int = 1
    quantization_bit: int = 0
    double_quantization: bool = True
    rank: int = 0
    target: str = "all"
    dropout: float = 0.0
    use_dora: bool = False
    precision: Precision = Precision.MIXED
    checkpoint_bytes: int = 2
    is_recast: bool = False
    liger: bool = False
    is_compiled: bool = False
    checkpointing: bool = True
    offload_checkpoints: bool = False
    packing: bool = False
    padded: bool = False
    optimizer: str = "adamw_torch_fused"
    zero_stage: int | None = None
    offload: bool = False
    fused_attention: bool = True
    eval_batch: int = 0
    loader_workers: int = 0
    attended_tokens: int = 0
    is_extended: bool = False
    is_padding_free: bool = False

    @property
    def is_sharded(self) -> bool:
        """Whether processes share gradients and optimizer states, or weights too."""
        return (self.zero_stage or 0) > 1

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch, padding included."""
        return self.micro_batch * self.seq_len_tokens

    @property
    def is_lora(self) -> bool:
        """Whether only an adapter is trained."""
        return self.method != "full"

    @property
    def has_mask(self) -> bool:
        """Whether attention gets a mask of its own; unpadded rows need none."""
        return self.has_block_mask or (self.padded and not self.is_padding_free)

    @property
    def has_block_mask(self) -> bool:
        """Whether packed rows are kept apart by a mask of length² entries."""
        return self.packing and not self.is_padding_free

    @property
    def fuses_layers(self) -> bool:
        """Whether norms, rotations and MLP products are one kernel each: Liger's, or what the compiler makes."""
        return self.liger or self.is_compiled

    @property
    def keeps_dropout(self) -> bool:
        """Whether dropout gives each adapter an input of its own; the extension draws its mask anew instead."""
        return self.dropout > 0 and not self.fuses_adapters

    @property
    def fuses_adapters(self) -> bool:
        """Whether the extension computes the LoRA branch: in 16 bit, over weights that lie whole, and no int8 ones.

        With `pure_bf16` PEFT keeps the adapter in fp32, and computes in it: there the extension stays out.
        """
        is_known = self.quantization_bit in {0, NF4} and not self.use_dora and (self.zero_stage or 0) < _WEIGHTS_SHARED
        in_16_bit = self.precision is Precision.MIXED or (self.precision is Precision.PURE and self.is_sharded)
        return self.is_extended and self.is_lora and is_known and in_16_bit

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number that matrices are multiplied in."""
        return 4 if self.precision is Precision.FULL else 2

    @property
    def residual_bytes(self) -> int:
        """Bytes of a number between layers: fp32 weights give fp32 embeddings, and all that is added to them is.

        Two 16-bit types, the checkpoint's and autocast's, add up to fp32 as well.
        """
        if self.precision is Precision.MIXED:
            return 2 if self.is_lora and not self.is_recast else 4
        return self.compute_bytes

    @property
    def linear_bytes(self) -> int:
        """Bytes of a number that a frozen layer gives: in the type that it computes in, bitsandbytes' as they read."""
        return self.residual_bytes if self.quantization_bit else self.compute_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight that is not quantised: fp32 where it is trained, the checkpoint's type where it is not.

        All in one 16-bit type, it takes two bytes either way.
        """
        if self.precision is Precision.PURE:
            return 2
        return self.checkpoint_bytes if self.is_lora else 4

    @property
    def trainable_bytes(self) -> int:
        """Bytes of a trainable number: fp32 unless all is bf16."""
        return 2 if self.precision is Precision.PURE else 4

    @property
    def casts_inputs(self) -> bool:
        """Whether PEFT casts each layer's input for an adapter in another type (bitsandbytes' layers do not)."""
        is_cast = self.is_lora and self.precision is Precision.MIXED and not self.quantization_bit
        return is_cast and not self.fuses_adapters

    @property
    def copies_inputs(self) -> bool:
        """Whether each adapter keeps an input of its own: as PEFT casts it, or autocast over bitsandbytes' layers."""
        return self.casts_inputs or (self.is_lora and self.is_recast and not self.fuses_adapters)

    @property
    def optimizer_bytes(self) -> float:
        """Bytes of optimizer state for a trainable number; DeepSpeed's ZeRO keeps fp32 weights besides."""
        if self.is_sharded:
            return 4.0 + _OPTIMIZER_BYTES.get(self.optimizer, 8.0)
        return _OPTIMIZER_BYTES.get(self.optimizer, 2.0 * self.trainable_bytes)

    def targets(self, model: ModelFacts) -> tuple[LinearShape, ...]:
        """The linear layers of a decoder layer that carry an adapter."""
        if not self.is_lora:
            return ()
        return _targets(model.linears, self.target)

    def adapter_parameters(self, model: ModelFacts) -> int:
        """Trainable numbers of the adapter: rank × (in + out) a layer, with DoRA one magnitude an output."""
        return model.num_layers * sum(
            self.rank * (linear.in_features + linear.out_features) + (linear.out_features if self.use_dora else 0)
            for linear in self.targets(model)
        )

    def trainable_parameters(self, model: ModelFacts) -> int:
        """Numbers that are trained."""
        return self.adapter_parameters(model) if self.is_lora else model.text_parameters


@functools.lru_cache(maxsize=64)
def _targets(linears: tuple[LinearShape, ...], target: str) -> tuple[LinearShape, ...]:
    """`TrainSettings.targets`: a plan asks thousands of times."""
    if target.strip() == "all":
        return linears
    names = {name.strip().rsplit(".", 1)[-1] for name in target.split(",")}
    return tuple(linear for linear in linears if linear.name in names)


def is_attention(linear: LinearShape) -> bool:
    """Whether a linear layer belongs to the attention block."""
    return linear.name in _ATTENTION


def read_settings(
    values: Mapping[str, Any],
    *,
    seq_len_tokens: int,
    micro_batch: int,
    accumulation: int,
    world_size: int,
    zero_stage: int | None = None,
    offload: bool = False,
    padded: bool = True,
    fused_attention: bool = True,
    checkpoint: str = _BF16,
) -> TrainSettings:
    """The settings that the engine's own keys make, with the engine's defaults where they say nothing.

    Args:
        values: the engine's keys, as rendered.
        seq_len_tokens: tokens of the longest row.
        micro_batch: rows at a time.
        accumulation: micro-batches before an update.
        world_size: processes.
        zero_stage: DeepSpeed's stage, if DeepSpeed is used.
        offload: whether ZeRO offloads.
        padded: whether rows differ in length.
        fused_attention: whether the GPU has fused kernels for grouped queries.
        checkpoint: the type of the checkpoint's weights.
    """
    is_sharded = (zero_stage or 0) > 1
    packing = bool(values.get("packing") or values.get("neat_packing"))
    return TrainSettings(
        **_adapter_settings(values),
        **_computing_settings(values),
        **_number_types(values, checkpoint, is_sharded=is_sharded),
        micro_batch=micro_batch,
        seq_len_tokens=seq_len_tokens,
        accumulation=accumulation,
        world_size=world_size,
        packing=packing,
        padded=padded and not packing,
        zero_stage=zero_stage,
        offload=offload,
        fused_attention=fused_attention,
        eval_batch=_eval_batch(values),
        loader_workers=int(values.get("dataloader_num_workers") or 0),
    )


def _eval_batch(values: Mapping[str, Any]) -> int:
    """Rows that are evaluated at a time, 8 unless the engine is told otherwise."""
    has_set = bool(values.get("val_size") or values.get("eval_dataset"))
    is_asked = values.get("eval_strategy") not in {None, "no", False} or bool(values.get("do_eval"))
    return int(values.get(EVAL_BATCH_KEY) or DEFAULT_EVAL_BATCH) if has_set and is_asked else 0


def _adapter_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What is trained: all weights, or an adapter of this kind."""
    method = "full" if values.get("finetuning_type", "lora") in {"full", "freeze"} else "lora"
    return {
        "method": method,
        "rank": int(values.get("lora_rank", 8)) if method == "lora" else 0,
        "target": read_target(values.get("lora_target", "all")),
        "dropout": float(values.get("lora_dropout", 0.0)),
        "use_dora": bool(values.get("use_dora")),
    }


def _computing_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """How it is computed: quantisation, kernels, recomputation, optimizer."""
    return {
        "quantization_bit": int(values.get("quantization_bit") or 0),
        "double_quantization": bool(values.get("double_quantization", True)),
        "liger": bool(values.get("enable_liger_kernel")),
        "is_compiled": bool(values.get("torch_compile")),
        "checkpointing": not values.get("disable_gradient_checkpointing"),
        "offload_checkpoints": bool(values.get("use_unsloth_gc")),
        "optimizer": str(values.get("optim", "adamw_torch_fused")),
    }


def read_target(value: Any) -> str:
    """``lora_target`` as one text: a list is joined with commas."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _number_types(values: Mapping[str, Any], checkpoint: str, *, is_sharded: bool) -> dict[str, Any]:
    """The types of numbers: the engine loads a checkpoint in its own, whatever it computes in.

    DeepSpeed from stage 2 on holds the model in 16 bit itself, and the fp32 weights with the optimizer's states.
    `pure_bf16` casts nothing: of an fp32 checkpoint it makes a training in fp32.
    """
    computing = _BF16 if values.get("bf16") else _FP16 if values.get("fp16") else None
    if is_sharded and computing:
        precision = Precision.PURE
    elif computing:
        precision = Precision.MIXED
    elif values.get("pure_bf16") and checkpoint != _FP32:
        precision = Precision.PURE
    else:
        precision = Precision.FULL
    return {
        "precision": precision,
        "checkpoint_bytes": 4 if checkpoint == _FP32 else 2,
        "is_recast": precision is Precision.MIXED and checkpoint != computing,
    }
