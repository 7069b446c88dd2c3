"""The LoRA branches of frozen linear layers as one autograd function.

peft computes ``y = W x + s · B A dropout(x)`` as it reads: the input is cast to the adapter's fp32, dropped out there,
cast back for each product, and the branch is scaled and added in passes of its own. Here the adapter is cast instead,
which is smaller; the branch comes first and the frozen product is added to it where that is made, in place of a pass
for each; for the backward pass only x (which the layers of an attention or MLP block share) and A·dropout(x) are kept.
Layers that read the same x (q, k and v; gate and up) are one function: x is read once for all of their branches, and
its gradient is summed in the products. Trainable weights stay fp32, their gradients too. Frozen weights of another
type than the products' (an fp32 checkpoint under autocast) are cast for each pass, and the copy is not kept.

    forward   hₙ = Dₙ(x) Aₙᵀ,  yₙ = α hₙ Bₙᵀ + b + x Wₙᵀ                          with α = s / keep
    backward  dBₙ = α dyₙᵀ hₙ,  dhₙ = α dyₙ Bₙ,  dAₙ = dhₙᵀ Dₙ(x),  dx = Σ Dₙ(dhₙ Aₙ) + dyₙ Wₙ     Dₙ drops, unscaled
"""

from __future__ import annotations

import functools
from collections import Counter
from types import MethodType
from typing import Any

import torch

from . import casting, dropout, kernels

_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class LoraLinears(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """yₙ = Wₙ x + bₙ + sₙ · Bₙ Aₙ dropout(x), W and b frozen, for layers of one input; (…, in) → N × (…, outₙ)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layers: list[Any], scalings: list[float], p: float, *pairs: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Keep x, h and the seed; ``pairs`` are A and B of each layer, in turn."""
        dtype = computing_type(layers[0], x.device)
        rows = x.reshape(-1, x.shape[-1]).to(dtype).contiguous()
        seed = dropout.new_seed(x.device) if p > 0 else None
        alphas = [scaling / dropout.kept_share(p) for scaling in scalings]
        h = kernels.project_down(rows, _stacked(pairs[::2], dtype), seed, p)
        results = []
        for layer, branch, b, alpha in zip(layers, h, pairs[1::2], alphas, strict=True):
            up = (b * alpha).to(dtype).T
            y = branch @ up if layer.bias is None else torch.addmm(layer.bias.to(dtype), branch, up)
            y.addmm_(rows, frozen_weight(layer, dtype).T)
            results.append(y.to(_given_type(layer, x.dtype, dtype)).view(*x.shape[:-1], y.shape[-1]))
        ctx.save_for_backward(rows, h, seed, *pairs)
        ctx.layers, ctx.alphas, ctx.p, ctx.shape, ctx.dtype = layers, alphas, p, x.shape, x.dtype
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of x, and of each A and B."""
        rows, h, seed, *pairs = ctx.saved_tensors
        dys = [grad.reshape(-1, grad.shape[-1]).to(rows.dtype) for grad in grads]
        dh = torch.empty_like(h)
        dbs = []
        for dy, b, alpha, kept, place in zip(dys, pairs[1::2], ctx.alphas, h, dh, strict=True):
            torch.mm(dy, (b * alpha).to(rows.dtype), out=place)
            dbs.append((dy.T @ kept).to(b.dtype).mul_(alpha))
        das = kernels.grad_of_down(dh, rows, seed, ctx.p).to(pairs[0].dtype)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = kernels.spread_dropped(dh, _stacked(pairs[::2], rows.dtype), seed, ctx.p)
            for dy, layer in zip(dys, ctx.layers, strict=True):
                dx.addmm_(dy, frozen_weight(layer, rows.dtype))
            dx = dx.to(ctx.dtype).view(ctx.shape)
        return dx, None, None, None, *(grad for pair in zip(das, dbs, strict=True) for grad in pair)


def _stacked(matrices: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.stack([matrix.to(dtype) for matrix in matrices])


class Group:
    """Layers of one block that read the same input: the first one asked computes all, the others take their share."""

    def __init__(self, members: list[Any]) -> None:
        """Begin with the layers in the order of their lanes."""
        self._members = members
        self._ready: dict[int, torch.Tensor] = {}
        self._x: torch.Tensor | None = None

    def forward(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """The output of one of the layers: (…, in) → (…, out)."""
        if x is self._x and id(module) in self._ready:
            return self._take(module)
        if self._ready:  # somebody did not come for its share: these layers do not always read the same
            self._members = [module]
        members = self._members if module in self._members else [module]
        self._x, self._ready = x, dict(zip(map(id, members), _compute(members, x), strict=True))
        return self._take(module)

    def _take(self, module: Any) -> torch.Tensor:
        y = self._ready.pop(id(module))
        if not self._ready:
            self._x = None
        return y


def _compute(members: list[Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    names = [module.active_adapters[0] for module in members]
    pairs = [
        matrix.weight
        for module, name in zip(members, names, strict=True)
        for matrix in (module.lora_A[name], module.lora_B[name])
    ]
    scalings = [module.scaling[name] for module, name in zip(members, names, strict=True)]
    layers = [module.base_layer for module in members]
    results: tuple[torch.Tensor, ...] = LoraLinears.apply(x, layers, scalings, _dropout(members[0]), *pairs)
    return results


def _dropout(module: Any) -> float:
    return float(getattr(module.lora_dropout[module.active_adapters[0]], "p", 0.0))


def computing_type(layer: Any, device: torch.device) -> torch.dtype:
    """The type that a layer multiplies in: autocast's, where it is on; a 4-bit layer's own; or that of its weight."""
    autocast = casting.autocast_type(device)
    if autocast is not None:
        return autocast
    own: torch.dtype = layer.weight.dtype if _quant_state(layer) is None else layer.compute_dtype
    return own


def frozen_weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """The weight of a frozen linear layer in the given type, (out, in); a 4-bit one is written out."""
    state = _quant_state(layer)
    if state is None:
        return layer.weight.detach().to(dtype)
    from bitsandbytes.functional import dequantize_4bit

    weight: torch.Tensor = dequantize_4bit(layer.weight.data, state).to(dtype)
    return weight


def _given_type(layer: Any, given: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """The type of a layer's output: bitsandbytes' 4-bit layers give it in that of their input, and peft adds to it."""
    return dtype if _quant_state(layer) is None else torch.promote_types(given, dtype)


def _quant_state(layer: Any) -> Any:
    return getattr(layer.weight, "quant_state", None)


def install(model: Any, autocast: torch.dtype | None = None) -> dict[str, Any]:
    """Give every layer that qualifies the function above; returns how many, and why others were left.

    Args:
        model: with adapters.
        autocast: the type that autocast will compute in; None for training without it.
    """
    left: Counter[str] = Counter()
    fit = []
    for module in model.modules():
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            reason = _unfit(module) or _miscast(module, autocast)
            if reason is None:
                fit.append(module)
            else:
                left[reason] += 1
    groups = _groups(model, fit)
    for group in groups:
        shared = Group(group)
        for module in group:
            module.forward = MethodType(functools.partial(_forward, original=module.forward, group=shared), module)
    joined = sum(len(group) for group in groups if len(group) > 1)
    return {"fused": len(fit), "joined": joined, **({"left": dict(left)} if left else {})}


def _groups(model: Any, fit: list[Any]) -> list[list[Any]]:
    """The layers that read the same input, where one pass may serve them; each of the others by itself."""
    alone = dict(zip(map(id, fit), fit, strict=True))
    groups = []
    for parent in model.modules():
        for names in _SIBLINGS:
            members = [alone.get(id(getattr(parent, name, None))) for name in names]
            if all(member is not None for member in members) and _alike(members):
                groups.append(members)
                for member in members:
                    del alone[id(member)]
    return groups + [[module] for module in alone.values()]


def _alike(members: list[Any]) -> bool:
    """Whether adapters have the same shape and dropout, and one pass may serve them."""
    shapes = {module.lora_A[module.active_adapters[0]].weight.shape for module in members}
    return (
        len(shapes) == 1 and len(set(map(_dropout, members))) == 1 and kernels.can_join(len(members), shapes.pop()[0])
    )


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


def _miscast(module: Any, autocast: torch.dtype | None) -> str | None:
    """Why the function above would compute in another type than peft does; None where it would not."""
    base = module.base_layer
    computing = autocast or (base.weight.dtype if _quant_state(base) is None else base.compute_dtype)
    if autocast is None and module.lora_A[module.active_adapters[0]].weight.dtype != computing:
        return f"the adapter is computed in fp32, its layer in {computing}"
    if base.weight.device.type == "cuda" and computing not in casting.SIXTEEN_BIT and _dropout(module) > 0:
        return f"no kernels for dropout in {computing}"
    return None


def _forward(module: Any, x: torch.Tensor, *args: Any, original: Any, group: Group, **kwargs: Any) -> torch.Tensor:
    """Train by the function above; answer by peft's own forward."""
    # Without gradients, too: a checkpointed layer's first pass must draw the same mask as its second.
    if args or kwargs or not module.training or module.disable_adapters or module.merged:
        output: torch.Tensor = original(x, *args, **kwargs)
        return output
    return group.forward(module, x)
