"""Logits for supervised tokens alone.

Every token of a prompt is given logits over the whole vocabulary and then ignored by the loss. Here only the hidden
states whose next token is supervised go through the last layer, in chunks large enough to keep the GPU busy. The loss
is a sum over the same tokens, divided by the same number. Autocast would cast a frozen output layer of another type
(an fp32 checkpoint) for each chunk's products anew: it is cast once.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch.nn import functional

from . import casting

_IGNORED = -100
_CHUNK_ROWS = 1024


def install(model: Any) -> str:
    """Wrap the loss that liger gave the model's class; returns ``on``, or why not."""
    module = sys.modules.get(f"liger_kernel.transformers.model.{model.config.model_type}")
    original = getattr(module, "LigerForCausalLMLoss", None)
    if module is None or original is None:
        return "liger is not in use for this model"
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    takes_chunks = "chunk_mem_const" in inspect.signature(liger_fused_linear_cross_entropy).parameters

    def supervised_loss(
        hidden_states: torch.Tensor, lm_head_weight: torch.Tensor, labels: Any, hidden_size: int, **kwargs: Any
    ) -> Any:
        shifted = kwargs.pop("shift_labels", None)
        if shifted is None:
            shifted = functional.pad(labels, (0, 1), value=_IGNORED)[..., 1:]
        shifted = shifted.reshape(-1).to(hidden_states.device)
        wanted = (shifted != _IGNORED).nonzero().squeeze(1)
        if len(wanted) == 0:  # the loss of nothing is liger's to say
            wanted = torch.zeros(1, dtype=torch.int64, device=shifted.device)
        chosen = hidden_states.reshape(-1, hidden_size).index_select(0, wanted)
        autocast = casting.autocast_type(hidden_states.device)
        if autocast is not None and not lm_head_weight.requires_grad:
            lm_head_weight = lm_head_weight.to(autocast)
        if takes_chunks:
            budget = _CHUNK_ROWS * lm_head_weight.shape[0]
            kwargs["chunk_mem_const"] = max(1, min(64, budget // max(1, chosen.numel())))
        return original(chosen, lm_head_weight, None, hidden_size, shift_labels=shifted[wanted], **kwargs)

    module.LigerForCausalLMLoss = supervised_loss  # type: ignore[attr-defined]
    return "on"
