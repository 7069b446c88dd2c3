"""Seconds in which Python launches a micro-step's kernels: the floor under small models and short batches. Pure.

Fitted on the calibration half of benchmarks/memory, on hosts of H100s and H200s; a slower processor takes longer.
"""

from __future__ import annotations

from lfwrap.model.shapes import ModelFacts
from lfwrap.plan.inputs.train_settings import INT8, NF4, Precision, TrainSettings
from lfwrap.plan.memory.traffic import Passes
from lfwrap.plan.speed.constants import FITTED, SpeedConstants

# Llama and Qwen2 have two norms a layer; a further one takes 6 operations, attention in transformers' own code 11 more.
_USUAL_NORMS, _NORM_OPERATIONS, _EAGER_OPERATIONS = 2, 6, 11
# Liger's fused loss: six launches a chunk, about 10 µs each.
_CHUNK_S = 60e-6
# Assumed: the extension's function is one operation of autograd instead of about nine, with Triton's launches inside.
_FUSED_SHARE = 0.5
# Fitted on a 0.5B model on an H200: a compiled layer has fewer kernels, and Python launches them in one go.
_COMPILED_SHARE = 0.4


def launch_s(
    model: ModelFacts, settings: TrainSettings, *, forward_passes: int, chunks: int, constants: SpeedConstants = FITTED
) -> Passes:
    """Seconds to launch all forward passes, and the loss and the backward pass.

    Args:
        model: the model's shapes.
        settings: the settings.
        forward_passes: passes going forward: two under checkpointing.
        chunks: of the fused loss.
        constants: what an operation takes.
    """
    further = _NORM_OPERATIONS * (model.norms_per_layer + 2 * model.qk_norm - _USUAL_NORMS)
    further += _EAGER_OPERATIONS if model.attention_softcap else 0
    beside = further * constants.operation_s
    beside += constants.liger_launch_s if settings.liger and not settings.is_compiled else 0.0
    adapters, linears = len(settings.targets(model)), len(model.linears)
    each = {NF4: constants.nf4_launch_s, INT8: constants.int8_launch_s}.get(settings.quantization_bit, 0.0)
    if not settings.is_lora and settings.precision is Precision.MIXED:
        each = constants.cast_launch_s
    fused = _FUSED_SHARE if settings.fuses_adapters else 1.0
    beside += linears * each
    forward = constants.layer_forward_s + beside + adapters * fused * constants.adapter_forward_s
    backward = constants.layer_backward_s + beside + adapters * fused * constants.adapter_backward_s
    layers = model.num_layers * (_COMPILED_SHARE if settings.is_compiled else 1.0)
    loss = chunks * _CHUNK_S + constants.micro_step_launch_s
    return Passes(layers * forward_passes * forward, layers * backward + loss)
