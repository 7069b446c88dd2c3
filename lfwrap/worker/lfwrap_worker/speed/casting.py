"""The 16-bit type that a training multiplies in, whatever the type of the checkpoint.

With ``bf16: true`` or ``fp16: true`` the engine trains under autocast, which casts what goes into a product; weights
stay in the type of the checkpoint, often fp32. Functions of one's own, and kernels that autocast does not know, must
cast themselves.
"""

from __future__ import annotations

from typing import Any

import torch

SIXTEEN_BIT = frozenset({torch.bfloat16, torch.float16})


def asked_type(model_args: Any, finetuning_args: Any) -> torch.dtype | None:
    """What autocast will compute in; None without it. To be asked before the engine loads the model.

    The engine notes the type of ``bf16`` and ``fp16`` in its arguments, and while loading fills in one of its own where
    neither is set. ``pure_bf16`` goes without autocast.
    """
    return None if finetuning_args.pure_bf16 else model_args.compute_dtype


def autocast_type(device: torch.device) -> torch.dtype | None:
    """What autocast computes in here and now; None outside of it."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
