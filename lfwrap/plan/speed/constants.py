"""The fitted constants of the time model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SpeedConstants:
    """Fitted on the calibration half of benchmarks/memory by its fit_speed.py; nothing else is fitted.

    The first ones say how many times as long work takes as at the GPU's published peak rates.

    Attributes:
        matrices: products of weights.
        attention: the fused causal kernel.
        masked_attention: the kernel that takes a mask.
        traffic: what passes through memory between products.
        logits: the loss over all logits at once.
        restoring: NF4 weights written out.
        layer_forward_s: seconds to launch one forward pass of a layer of Llama or Qwen2.
        layer_backward_s: its backward pass.
        operation_s: a further operation of a layer, a pass.
        liger_launch_s: what Liger's kernels, launched from Python, take longer than torch's own, a layer and pass.
        adapter_forward_s: an adapter going forward.
        adapter_backward_s: an adapter going backward.
        nf4_launch_s: what an NF4 layer takes besides, a pass.
        int8_launch_s: what an int8 layer takes besides, a pass.
        cast_launch_s: what a trained fp32 layer takes besides, a pass.
        micro_step_launch_s: what a micro-step takes besides: collating, embedding, loss, clipping.
        pack_s: seconds to put a micro-batch of packs together.
        mask_entry_s: seconds to make an entry of its block mask, on the CPU.
        gather_s: seconds to gather one tensor under ZeRO-3, whatever its size.
    """

    matrices: float = 1.32
    attention: float = 1.96
    masked_attention: float = 5.5
    traffic: float = 1.45
    logits: float = 2.09
    restoring: float = 1.9
    layer_forward_s: float = 1.56e-3
    layer_backward_s: float = 4.12e-3
    operation_s: float = 0.0128e-3
    liger_launch_s: float = 0.35e-3
    adapter_forward_s: float = 0.213e-3
    adapter_backward_s: float = 0.198e-3
    nf4_launch_s: float = 0.218e-3
    int8_launch_s: float = 0.0841e-3
    cast_launch_s: float = 0.0569e-3
    micro_step_launch_s: float = 28.6e-3
    pack_s: float = 14.4e-3
    mask_entry_s: float = 1.81e-9
    gather_s: float = 0.565e-3


FITTED = SpeedConstants()
