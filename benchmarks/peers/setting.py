"""What a peer is to train: read from what lfwrap would give the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ahead import render_case

# Rows of an update count as the recipe says, and rows are cut where it says: a plan with packs sets both anew.
_AS_WRITTEN = ("lfwrap.speed=none", "packing=false")


@dataclass(frozen=True, slots=True)
class Setting:
    """One training.

    Attributes:
        model: folder or hub id.
        rows_per_update: the effective batch.
        cutoff_tokens: where rows are cut.
        rank: of the adapter.
        alpha: likewise.
        dropout: likewise.
        targets: names of linear layers, or ``all`` alone.
        learning_rate: at its highest.
        scheduler: the learning rate's course, in transformers' terms.
        warmup: updates; below 1 a part of all.
        dtype: torch's name of the type that weights and products have.
        on_cpu: whether there is no GPU.
        seed: of everything random.
        updates: after which it ends.
        values: the engine's, all of them.
    """

    model: str
    rows_per_update: int
    cutoff_tokens: int
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    learning_rate: float
    scheduler: str
    warmup: float
    dtype: str
    on_cpu: bool
    seed: int
    updates: int
    values: Mapping[str, Any]


def render_setting(arguments: Sequence[str], *, updates: int) -> Setting:
    """What `lfwrap train ARGUMENTS` means, without what it does for speed.

    Raises:
        ValueError: lfwrap refuses, or it is not LoRA over 16- or 32-bit weights.
    """
    case = render_case("peers", [*arguments, *_AS_WRITTEN])
    return read_setting(case.values, case.effective_batch_size, updates=updates)


def read_setting(values: Mapping[str, Any], rows_per_update: int, *, updates: int) -> Setting:
    """The setting in the engine's values, with the engine's defaults. Raises ValueError as `render_setting` does."""
    method, bits = values.get("finetuning_type", "lora"), values.get("quantization_bit")
    if method != "lora" or bits:
        raise ValueError(f"peers are compared on LoRA over 16- or 32-bit weights, not on {method}, {bits or 16} bit")
    rank = int(values.get("lora_rank") or 8)
    model = Path(str(values["model_name_or_path"]))  # peers run in folders of their own
    targets = str(values.get("lora_target") or "all")
    return Setting(
        model=str(model.absolute() if model.exists() else model),
        rows_per_update=rows_per_update,
        cutoff_tokens=int(values.get("cutoff_len") or 2048),
        rank=rank,
        alpha=int(values.get("lora_alpha") or 2 * rank),
        dropout=float(values.get("lora_dropout") or 0.0),
        targets=tuple(name.strip() for name in targets.split(",")),
        learning_rate=float(values.get("learning_rate") or 5e-5),
        scheduler=str(values.get("lr_scheduler_type") or "linear"),
        warmup=float(values.get("warmup_steps") or values.get("warmup_ratio") or 0.0),
        dtype="bfloat16" if values.get("bf16") else "float16" if values.get("fp16") else "float32",
        on_cpu=bool(values.get("use_cpu")),
        seed=int(values.get("seed") or 42),
        updates=updates,
        values=values,
    )


def split_batch(rows: int, largest: int) -> tuple[int, int]:
    """Micro-batch and accumulation that come to exactly so many rows, with the largest micro-batch that is allowed."""
    micro = max(size for size in range(1, min(rows, largest) + 1) if rows % size == 0)
    return micro, rows // micro
