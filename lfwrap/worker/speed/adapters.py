"""The LoRA branch of a frozen linear layer as one autograd function.

peft computes ``y = W x + s · B A dropout(x)`` as it reads: the input is cast to the adapter's fp32, dropped out there,
cast back for each product, and the branch is scaled and added in passes of their own. Here the adapter is cast instead,
which is smaller; both additions happen inside matrix products; for the backward pass only x (which the layers of an
attention or MLP block share) and A·dropout(x) are kept. Trainable weights stay fp32, their gradients too.

    forward   h = D(x) Aᵀ,  y = x Wᵀ + b + α h Bᵀ                              with α = s / keep
    backward  dB = α dyᵀ h,  dh = α dy B,  dA = dhᵀ D(x),  dx = dy W + D(dh A)    D drops, unscaled
"""

from __future__ import annotations

import functools
from collections import Counter
from types import MethodType
from typing import Any

import torch
from torch.nn import functional

from . import dropout, kernels


class LoraLinear(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """y = W x + bias + scaling · B A dropout(x) with W and bias frozen; shapes (…, in) → (…, out)."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, layer: Any, scaling: float, p: float
    ) -> torch.Tensor:
        """Keep x, h and the seed."""
        weight = frozen_weight(layer)
        rows = x.reshape(-1, x.shape[-1]).to(weight.dtype).contiguous()
        seed = dropout.new_seed(x.device) if p > 0 else None
        alpha = scaling / (1 - p)
        h = kernels.project_down(rows, a.to(weight.dtype), seed, p)
        bias = None if layer.bias is None else layer.bias.to(weight.dtype)
        y = functional.linear(rows, weight, bias)
        y.addmm_(h, b.to(weight.dtype).T, alpha=alpha)
        ctx.save_for_backward(rows, h, a, b, seed)
        ctx.layer, ctx.alpha, ctx.p, ctx.shape, ctx.dtype = layer, alpha, p, x.shape, x.dtype
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of x, A and B."""
        rows, h, a, b, seed = ctx.saved_tensors
        weight = frozen_weight(ctx.layer)
        dy = grad.reshape(-1, grad.shape[-1]).to(weight.dtype)
        dh = (dy @ b.to(weight.dtype)).mul_(ctx.alpha)
        db = (dy.T @ h).to(b.dtype).mul_(ctx.alpha)
        da = kernels.grad_of_down(dh, rows, seed, ctx.p).to(a.dtype)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight
            kernels.add_dropped(dx, dh, a.to(weight.dtype), seed, ctx.p)
            dx = dx.to(ctx.dtype).view(ctx.shape)
        return dx, da, db, None, None, None


def frozen_weight(layer: Any) -> torch.Tensor:
    """The weight of a frozen linear layer, (out, in); a 4-bit one is written out in its compute type."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None:
        return layer.weight.detach()
    from bitsandbytes.functional import dequantize_4bit

    weight: torch.Tensor = dequantize_4bit(layer.weight.data, state)
    return weight


def install(model: Any) -> dict[str, Any]:
    """Give every layer that qualifies the function above; returns how many, and why others were left."""
    left: Counter[str] = Counter()
    done = 0
    for module in model.modules():
        if not hasattr(module, "lora_A") or not hasattr(module, "base_layer"):
            continue
        reason = _unfit(module)
        if reason is None:
            done += 1
            module.forward = MethodType(functools.partial(_forward, original=module.forward), module)
        else:
            left[reason] += 1
    return {"fused": done, **({"left": dict(left)} if left else {})}


def _unfit(module: Any) -> str | None:
    """Why a peft layer keeps its own forward; None when it qualifies."""
    from peft.tuners.lora import layer

    kinds: tuple[Any, ...] = (layer.Linear,)
    bases: tuple[Any, ...] = (torch.nn.Linear,)
    try:
        import bitsandbytes
        from peft.tuners.lora.bnb import Linear4bit
    except ImportError:
        pass
    else:
        kinds, bases = (*kinds, Linear4bit), (*bases, bitsandbytes.nn.Linear4bit)
    base = module.base_layer
    if type(module) not in kinds or type(base) not in bases:
        return f"{type(module).__name__} over {type(base).__name__}"
    if any(hasattr(parameter, "ds_id") and parameter.numel() == 0 for parameter in module.parameters()):
        return "weights are shared among the GPUs (ZeRO-3)"
    if base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
        return "the base layer is trained"
    if len(module.active_adapters) != 1 or module.lora_variant:
        return "several adapters, or a variant of LoRA"
    name = module.active_adapters[0]
    if module.lora_A[name].bias is not None or module.lora_B[name].bias is not None or module.fan_in_fan_out:
        return "an adapter with a bias, or a transposed layer"
    return None


def _forward(module: Any, x: torch.Tensor, *args: Any, original: Any, **kwargs: Any) -> torch.Tensor:
    """Train by the function above; answer by peft's own forward."""
    # Without gradients, too: a checkpointed layer's first pass must draw the same mask as its second.
    if args or kwargs or not module.training or module.disable_adapters or module.merged:
        return original(x, *args, **kwargs)
    name = module.active_adapters[0]
    p = getattr(module.lora_dropout[name], "p", 0.0)
    a, b = module.lora_A[name].weight, module.lora_B[name].weight
    return LoraLinear.apply(x, a, b, module.base_layer, module.scaling[name], p)
