"""The settings of a training that its memory and its speed depend on, read from the engine's keys.

A new setting is a field of `TrainSettings` and a line of `read_settings` or `_read_plain`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from lfwrap.engine.keys import (
    COMPILE_KEY,
    DEFAULT_EVAL_BATCH,
    DEFAULT_METHOD,
    DEFAULT_OPTIMIZER,
    DEFAULT_RANK,
    DEFAULT_TARGET,
    EVAL_BATCH_KEY,
    LIGER_KEY,
    LOADERS_KEY,
    METHOD_KEY,
    NO_CHECKPOINTING_KEY,
    OFFLOADED_CHECKPOINTS_KEY,
)
from lfwrap.model.shapes import LinearShape, ModelFacts
from lfwrap.plan.inputs.batch import BatchPlan

NF4, INT8 = 4, 8  # bits of a quantised weight, as quantization_bit has them
_ATTENTION = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"})
# Bytes of optimizer state for a trainable number. Every other optimizer counts as AdamW, which keeps two moments in the
# parameter's type; the 8-bit ones keep a byte for each moment, and scales of blocks.
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
    """The types of numbers that the engine computes with."""

    MIXED = "mixed"  # bf16 or fp16 with trainable numbers in fp32: `bf16: true`, `fp16: true`
    PURE = "pure"  # all in bf16: `pure_bf16: true`
    FULL = "full"  # all in fp32


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings that memory and speed depend on, for one process.

    Attributes:
        method: ``lora`` or ``full``.
        micro_batch: rows that one process computes at a time (`per_device_train_batch_size`).
        seq_len_tokens: tokens of the longest row of a micro-batch, to which the others are padded.
        accumulation: micro-batches that one update is made of (`gradient_accumulation_steps`).
        world_size: processes, one a GPU.
        quantization_bit: 4 (NF4), 8 (LLM.int8) or 0.
        double_quantization: whether NF4's scales are quantised too.
        rank: rank of the adapter; 0 without one.
        target: ``all`` or module names, as ``lora_target`` takes them.
        dropout: share of the adapter's input that is dropped.
        use_dora: whether the adapter learns magnitudes too.
        precision: the types of numbers that the engine computes with.
        checkpoint_bytes: bytes of a number of the checkpoint; frozen weights keep its type.
        is_recast: whether autocast computes in another type than the checkpoint's: frozen weights are cast for each
            product, and embeddings, norms and all that passes between layers are fp32.
        liger: whether Liger's kernels replace norms, MLP products and the loss.
        is_compiled: whether each layer is compiled (`torch_compile`); of Liger only the loss is left then.
        checkpointing: whether layers are recomputed in the backward pass.
        offload_checkpoints: whether the kept layer inputs go to main memory (`use_unsloth_gc`).
        packing: whether short rows share a sequence, kept apart by a block mask (`neat_packing`).
        padded: whether a micro-batch has padding, which takes a mask: its rows differ in length, or their length is
            not a multiple of 8.
        optimizer: the engine's name for the optimizer.
        zero_stage: DeepSpeed's ZeRO stage; None for plain training or DDP.
        offload: whether ZeRO keeps optimizer states (and weights, stage 3) in main memory.
        fused_attention: whether the GPU has fused attention kernels for grouped queries.
        eval_batch: rows that one process evaluates at a time; 0 where nothing is evaluated.
        loader_workers: processes that prepare micro-batches in advance; with 0 the training process does it itself.
        attended_tokens: tokens of one row, where rows that share a sequence attend only to themselves; else 0.
        is_extended: whether lfwrap's extension computes adapters and loss (`speed: max`).
        is_padding_free: whether the extension also concatenates the rows of a micro-batch, without padding and masks.
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
        """Whether norms, rotations and MLP products are one kernel each: Liger's, or the compiler's."""
        return self.liger or self.is_compiled

    @property
    def keeps_dropout(self) -> bool:
        """Whether dropout gives each adapter an input of its own; the extension draws its mask again instead."""
        return self.dropout > 0 and not self.fuses_adapters

    @property
    def fuses_adapters(self) -> bool:
        """Whether the extension computes the LoRA branch: in 16 bit, over weights that are not sharded and not int8.

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
        """Bytes of a number between layers: fp32 weights give fp32 embeddings, and sums with them are fp32, too.

        Two 16-bit types, the checkpoint's and autocast's, add up to fp32 as well.
        """
        if self.precision is Precision.MIXED:
            return 2 if self.is_lora and not self.is_recast else 4
        return self.compute_bytes

    @property
    def linear_bytes(self) -> int:
        """Bytes of a number of a frozen layer's output: the type it computes in; of bitsandbytes', its input's type."""
        return self.residual_bytes if self.quantization_bit else self.compute_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of a weight that is not quantised: fp32 where it is trained, the checkpoint's type where it is frozen.

        With all numbers in one 16-bit type it is two bytes either way.
        """
        if self.precision is Precision.PURE:
            return 2
        return self.checkpoint_bytes if self.is_lora else 4

    @property
    def trainable_bytes(self) -> int:
        """Bytes of a trainable number: fp32 unless all numbers are bf16."""
        return 2 if self.precision is Precision.PURE else 4

    @property
    def casts_inputs(self) -> bool:
        """Whether PEFT casts each layer's input for an adapter in another type (bitsandbytes' layers do not)."""
        is_cast = self.is_lora and self.precision is Precision.MIXED and not self.quantization_bit
        return is_cast and not self.fuses_adapters

    @property
    def copies_inputs(self) -> bool:
        """Whether each adapter keeps an input of its own: cast by PEFT, or by autocast over bitsandbytes' layers."""
        return self.casts_inputs or (self.is_lora and self.is_recast and not self.fuses_adapters)

    @property
    def optimizer_bytes(self) -> float:
        """Bytes of optimizer state for a trainable number; DeepSpeed's ZeRO also keeps fp32 weights there."""
        if self.is_sharded:
            return 4.0 + _OPTIMIZER_BYTES.get(self.optimizer, 8.0)
        return _OPTIMIZER_BYTES.get(self.optimizer, 2.0 * self.trainable_bytes)

    def targets(self, model: ModelFacts) -> tuple[LinearShape, ...]:
        """The linear layers of one decoder layer that carry an adapter."""
        if not self.is_lora:
            return ()
        return _targets(model.linears, self.target)

    def adapter_parameters(self, model: ModelFacts) -> int:
        """Trainable numbers of the adapter: rank × (in + out) for each target, with DoRA one magnitude per output."""
        return model.num_layers * sum(
            self.rank * (linear.in_features + linear.out_features) + (linear.out_features if self.use_dora else 0)
            for linear in self.targets(model)
        )

    def trainable_parameters(self, model: ModelFacts) -> int:
        """Trainable numbers: the adapter's, or all of the language model's."""
        return self.adapter_parameters(model) if self.is_lora else model.text_parameters


@functools.lru_cache(maxsize=64)
def _targets(linears: tuple[LinearShape, ...], target: str) -> tuple[LinearShape, ...]:
    """`TrainSettings.targets`, cached: a plan asks for it thousands of times."""
    if target.strip() == "all":
        return linears
    names = {name.strip().rsplit(".", 1)[-1] for name in target.split(",")}
    return tuple(linear for linear in linears if linear.name in names)


def is_attention(linear: LinearShape) -> bool:
    """Whether a linear layer belongs to the attention block.

    Example:
        >>> is_attention(LinearShape("q_proj", 3584, 3584)), is_attention(LinearShape("up_proj", 3584, 18944))
        (True, False)
    """
    return linear.name in _ATTENTION


def read_settings(
    values: Mapping[str, Any],
    batch: BatchPlan,
    seq_len_tokens: int,
    *,
    zero_stage: int | None = None,
    offload: bool = False,
    padded: bool = True,
    checkpoint: str = _BF16,
) -> TrainSettings:
    """The settings that the engine's keys stand for; the engine's default where a key is not set.

    Args:
        values: the engine's keys, as rendered.
        batch: how an update is made up.
        seq_len_tokens: tokens of the longest row.
        zero_stage: DeepSpeed's ZeRO stage; None without DeepSpeed.
        offload: whether ZeRO keeps optimizer states in main memory.
        padded: whether micro-batches may have padding; packs never do.
        checkpoint: the type of the checkpoint's weights: ``float32``, ``bfloat16`` or ``float16``.

    >>> settings = read_settings({"lora_rank": 16, "bf16": True}, BatchPlan(4, 8, 1), 1024)
    >>> settings.method, settings.rank, settings.tokens, settings.weight_bytes
    ('lora', 16, 4096, 2)
    """
    is_lora = values.get(METHOD_KEY, DEFAULT_METHOD) not in {"full", "freeze"}
    packing = bool(values.get("packing") or values.get("neat_packing"))
    computing = _BF16 if values.get("bf16") else _FP16 if values.get("fp16") else None
    precision = _read_precision(values, checkpoint, computing, is_sharded=(zero_stage or 0) > 1)
    settings = TrainSettings(
        method="lora" if is_lora else "full",
        micro_batch=batch.micro_batch,
        seq_len_tokens=seq_len_tokens,
        accumulation=batch.accumulation,
        world_size=batch.world_size,
        rank=int(values.get("lora_rank", DEFAULT_RANK)) if is_lora else 0,
        precision=precision,
        checkpoint_bytes=4 if checkpoint == _FP32 else 2,
        is_recast=precision is Precision.MIXED and checkpoint != computing,
        packing=packing,
        padded=padded and not packing,
        zero_stage=zero_stage,
        offload=offload,
    )
    return _read_plain(settings, values)


def _read_plain(settings: TrainSettings, values: Mapping[str, Any]) -> TrainSettings:
    """The settings with those that are one key each."""
    return replace(
        settings,
        target=read_target(values.get("lora_target", DEFAULT_TARGET)),
        dropout=float(values.get("lora_dropout", 0.0)),
        use_dora=bool(values.get("use_dora")),
        quantization_bit=int(values.get("quantization_bit") or 0),
        double_quantization=bool(values.get("double_quantization", True)),
        liger=bool(values.get(LIGER_KEY)),
        is_compiled=bool(values.get(COMPILE_KEY)),
        checkpointing=not values.get(NO_CHECKPOINTING_KEY),
        offload_checkpoints=bool(values.get(OFFLOADED_CHECKPOINTS_KEY)),
        optimizer=str(values.get("optim", DEFAULT_OPTIMIZER)),
        eval_batch=_read_eval_batch(values),
        loader_workers=int(values.get(LOADERS_KEY) or 0),
    )


def _read_precision(
    values: Mapping[str, Any], checkpoint: str, computing: str | None, *, is_sharded: bool
) -> Precision:
    """The types of numbers: the engine loads a checkpoint in its own, whatever type it computes in.

    DeepSpeed from stage 2 on holds the model in 16 bit itself, and the fp32 weights with the optimizer's states.
    `pure_bf16` casts nothing: of an fp32 checkpoint it makes a training in fp32.
    """
    if computing:
        return Precision.PURE if is_sharded else Precision.MIXED
    return Precision.PURE if values.get("pure_bf16") and checkpoint != _FP32 else Precision.FULL


def _read_eval_batch(values: Mapping[str, Any]) -> int:
    """Rows that one process evaluates at a time; 0 where nothing is evaluated."""
    has_rows = bool(values.get("val_size") or values.get("eval_dataset"))
    evaluates = values.get("eval_strategy") not in {None, "no", False} or bool(values.get("do_eval"))
    return int(values.get(EVAL_BATCH_KEY) or DEFAULT_EVAL_BATCH) if has_rows and evaluates else 0


def read_target(value: Any) -> str:
    """``lora_target`` as one text; a list is joined with commas.

    Example:
        >>> read_target(["q_proj", "v_proj"])
        'q_proj,v_proj'
    """
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
