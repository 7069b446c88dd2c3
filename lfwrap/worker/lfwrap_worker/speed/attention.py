"""Attention over rows that lie one behind the other, each of which sees only itself.

Registered with transformers as an attention implementation of its own. A batch that says where its rows begin
(``cu_seq_lens_q``, as transformers calls it) goes to torch's own flash kernel for rows of different lengths; any other
batch, an evaluation's with padding, goes the way that sdpa goes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from . import casting

NAME = "lfwrap_rows"
# The models whose layers hand on the boundaries and have nothing but plain causal attention.
_KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_WIDEST_HEAD = 256
_OPERATOR = "_flash_attention_forward"


def install(model: Any, autocast: torch.dtype | None = None) -> str | None:
    """Let the model attend by rows; returns why not, where it can't.

    Args:
        model: as the engine loaded it.
        autocast: the type that autocast will compute in; None for training without it.
    """
    config = model.config
    if config.model_type not in _KNOWN:
        return f"{config.model_type}: not known to be safe"
    if config._attn_implementation != "sdpa":  # noqa: SLF001 - transformers' own name
        return f"the model attends by {config._attn_implementation}"  # noqa: SLF001
    if getattr(config, "use_sliding_window", None) or (config.model_type == "mistral" and config.sliding_window):
        return "a sliding window"
    if model.device.type == "cuda" and not hasattr(torch.ops.aten, _OPERATOR):
        return f"torch {torch.__version__} has no {_OPERATOR}"
    computing = autocast or model.dtype
    if model.device.type == "cuda" and computing not in casting.SIXTEEN_BIT:
        return f"{computing} is not a type of the flash kernel"
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, make_mask)
    for module in model.modules():
        if getattr(module, "config", None) is not None:
            module.config._attn_implementation = NAME  # noqa: SLF001
    return None


def make_mask(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor | None:
    """None for rows that speak for themselves; the mask of sdpa for a padded batch."""
    if attention_mask is None:
        return None
    from transformers.masking_utils import sdpa_mask

    mask: torch.Tensor | None = sdpa_mask(*args, attention_mask=attention_mask, **kwargs)
    return mask


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks for it: (1, heads, tokens, width) each → (1, tokens, heads, width)."""
    if cu_seq_lens_q is None or max_length_q is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        padded: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return padded
    # Values come out of a product; queries and keys are rotated in the type of the checkpoint, and may be fp32.
    dtype = casting.autocast_type(query.device) or value.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    scale = kwargs.get("scaling")
    if len(cu_seq_lens_q) == 2:  # noqa: PLR2004 - one row: torch may choose among its kernels
        return _attend_causally(query, key, value, scale).transpose(1, 2).contiguous(), None
    if query.device.type != "cuda":
        return _row_by_row(query, key, value, cu_seq_lens_q, scale), None
    tokens = [each.transpose(1, 2).squeeze(0) for each in (query, key, value)]
    out, *_ = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - the only way to it that takes boundaries
        *tokens, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q, 0.0, True, False, scale=scale
    )
    return out.unsqueeze(0), None


def _attend_causally(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None) -> torch.Tensor:
    gqa = k.shape[1] != q.shape[1]
    out: torch.Tensor = functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=gqa)
    return out


def _row_by_row(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, scale: float | None
) -> torch.Tensor:
    """The same where there is no such kernel."""
    sizes = bounds.diff().tolist()
    rows = zip(query.split(sizes, dim=2), key.split(sizes, dim=2), value.split(sizes, dim=2), strict=True)
    parts = [_attend_causally(q, k, v, scale) for q, k, v in rows]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous()
