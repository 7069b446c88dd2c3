"""Rules about the machine; a recipe with an ``lfwrap:`` block is adapted to it where possible."""

from __future__ import annotations

from collections.abc import Iterator

from lfwrap.engine.keys import PRECISION_KEYS
from lfwrap.errors import Finding, LfwrapError
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import DeviceKind
from lfwrap.recipe.rules.view import View


def unknown_hardware(view: View) -> Iterator[Finding]:
    """The machine that the recipe was written for is one of the catalogue, or a profile file."""
    name = view.intent.hardware
    if name in {None, "auto"}:
        return
    try:
        load_hardware(str(name))
    except LfwrapError as error:
        message = f"lfwrap.hardware: {name!r} is not a known machine."
        yield view.error("unknown-hardware", "lfwrap.hardware", message, error.hint)
    except (ValueError, OSError):
        hint = "`lfwrap hardware list` names all."
        yield view.error("unknown-hardware", "lfwrap.hardware", f"lfwrap.hardware: {name!r} is not a name.", hint)


def bf16_hardware(view: View) -> Iterator[Finding]:
    """16-bit types need hardware that computes in them."""
    hardware = view.hardware
    if hardware is None or view.recipe.has_intent:
        return
    adapt = "or add an `lfwrap:` block, and lfwrap chooses the precision."
    if hardware.is_cpu:
        for key in PRECISION_KEYS:
            if view.on(key):
                message = f"{key}: {hardware.name} has no GPU."
                hint = f"Write `{key}: false` and `use_cpu: true`, {adapt}"
                yield view.error("bf16-without-hardware", key, message, hint)
        return
    for key in ("bf16", "pure_bf16"):
        if view.on(key) and not hardware.supports_bf16:
            message = f"{key}: {hardware.name} has no bf16 (compute capability 8.0 and up has)."
            yield view.error("bf16-without-hardware", key, message, f"Write `fp16: true` instead, {adapt}")


def quantization_hardware(view: View) -> Iterator[Finding]:
    """Quantised layers need hardware that runs them, and pay off only on a GPU."""
    if view.hardware is None or not view.on("quantization_bit"):
        return
    if view.hardware.kind is DeviceKind.MPS:
        message = f"quantization_bit: no quantised training on {view.hardware.name}."
        yield view.error("quantization-hardware", "quantization_bit", message, "Leave it out, or take a smaller model.")
    elif view.hardware.is_cpu:
        message = "quantization_bit: works on a CPU, and is slower there than fp32."
        yield view.warning("quantization-hardware", "quantization_bit", message, "Leave it out where memory allows.")


def kernels(view: View) -> Iterator[Finding]:
    """Kernels that are written for some GPUs only."""
    hardware = view.hardware
    if hardware is None:
        return
    gpu = hardware.smallest_gpu
    if hardware.kind in {DeviceKind.CPU, DeviceKind.MPS}:
        for key in ("enable_liger_kernel", "use_unsloth", "use_unsloth_gc"):
            if view.on(key):
                message = f"{key}: its kernels need a GPU with Triton, {hardware.name} has none."
                yield view.error("kernel-hardware", key, message, "Leave it out.")
    wants_flash = view.text("flash_attn") in {"fa2", "fa3"}
    if wants_flash and not (gpu and gpu.flash_attention):
        message = f"flash_attn: {hardware.name} can't run FlashAttention (compute capability 8.0 and up can)."
        yield view.error("kernel-hardware", "flash_attn", message, "Write `flash_attn: sdpa`.")


RULES = (unknown_hardware, bf16_hardware, quantization_hardware, kernels)
