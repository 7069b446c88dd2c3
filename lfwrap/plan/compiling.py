"""Which trainings have their layers compiled one by one, and the notes about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.engine.compat import KNOWN_ARCHITECTURES
from lfwrap.engine.keys import COMPILE_KEY, TRAINERS_COMPILE_KEYS
from lfwrap.hardware.profile import DeviceKind
from lfwrap.plan.candidate import COMPILE_S, Candidate
from lfwrap.plan.inputs.train_settings import NF4, Precision, TrainSettings
from lfwrap.plan.memory.persistent import WEIGHTS_SHARED
from lfwrap.plan.request import PlanRequest

REASON = "Norms, casts and dropout of a layer become a few kernels; worth the time that compiling takes."
# The compute capability from which GPUs had their layers compiled, or are built alike.
_FROM = (8, 0)


def why_left_to_trainer(values: Mapping[str, Any], zero_stage: int | None) -> str:
    """Why compiling is left to the trainer, which compiles the whole model, instead of each layer by itself.

    Args:
        values: the engine's keys.
        zero_stage: ZeRO stage of the DeepSpeed configuration that lfwrap writes; None where it writes none.

    Returns:
        The key that decides, or the ZeRO stage; empty where layers are compiled one by one.

    Example:
        >>> why_left_to_trainer({"torch_compile_mode": "max-autotune"}, None)
        'torch_compile_mode'
        >>> why_left_to_trainer({}, 3)
        'ZeRO-3'
        >>> why_left_to_trainer({}, 2)
        ''
    """
    named = next((key for key in TRAINERS_COMPILE_KEYS if values.get(key)), "")
    if named or values.get("fsdp"):
        return named or "fsdp"
    if zero_stage is None:
        return "deepspeed" if values.get("deepspeed") else ""  # a file of the person's own: its stage is not read
    return f"ZeRO-{zero_stage}" if zero_stage >= WEIGHTS_SHARED else ""


def may_compile(request: PlanRequest, settings: TrainSettings) -> bool:
    """Whether a plan may compile layers: LoRA over 16-bit or NF4 weights, unsharded, on models and GPUs that are known.

    Args:
        request: what is planned.
        settings: the settings of the recipe as it stands.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> may_compile(sample_request(), TrainSettings("lora", 16, 1024, rank=8))
        True
        >>> may_compile(sample_request(), TrainSettings("full", 16, 1024))
        False
    """
    gpu, model = request.hardware.smallest_gpu, request.model
    is_known = model.architecture in KNOWN_ARCHITECTURES and not model.sliding_window and not settings.use_dora
    is_known &= settings.is_lora and settings.quantization_bit in {0, NF4} and settings.precision is Precision.MIXED
    is_whole = not why_left_to_trainer(request.values, request.zero_stage)
    ability = gpu.compute_capability if gpu else None
    is_able = request.hardware.kind is DeviceKind.CUDA and ability is not None and ability >= _FROM
    return request.speed == "auto" and is_known and is_whole and is_able and request.is_open(COMPILE_KEY)


def gains_by_compiling(request: PlanRequest, candidate: Candidate) -> bool:
    """Whether a candidate fits and nearly all of its micro-batches have one shape: each shape is compiled by itself.

    Example:
        >>> from lfwrap.plan.candidate import evaluate
        >>> from lfwrap.plan.sample import sample_request
        >>> request = sample_request()  # rows of different lengths
        >>> gains_by_compiling(request, evaluate(request, {}, request.batch))
        False
    """
    is_whole = (candidate.settings.zero_stage or 0) < WEIGHTS_SHARED
    has_one_shape = candidate.settings.packing or request.rows.are_alike
    return candidate.fits and bool(candidate.updates) and is_whole and has_one_shape


def compiling_notes(request: PlanRequest, candidate: Candidate) -> Iterator[str]:
    """Sentences about compiling in this training; none where nothing is compiled.

    Example:
        >>> from lfwrap.plan.candidate import evaluate
        >>> from lfwrap.plan.request import Setting
        >>> from lfwrap.plan.sample import sample_request
        >>> request = sample_request()
        >>> changes = {COMPILE_KEY: Setting(True, REASON)}
        >>> [note[:19] for note in compiling_notes(request, evaluate(request, changes, request.batch))]
        ['Layers are compiled', 'Rows differ in leng']
    """
    is_asked = any(request.values.get(key) for key in (COMPILE_KEY, *TRAINERS_COMPILE_KEYS))
    left = why_left_to_trainer(request.values, candidate.settings.zero_stage)
    if is_asked and left:
        yield f"Compiling is left to the trainer ({left}), which compiles the whole model: minutes for each length."
    elif candidate.settings.is_compiled:
        yield (
            f"Layers are compiled in the first update, which takes about {COMPILE_S:.0f} s more; the next time torch's"
            " cache has them. Losses differ as with another seed of dropout, and in the last bits."
        )
        if not (candidate.settings.packing or request.rows.are_alike):
            yield "Rows differ in length: only micro-batches of the largest shape are compiled. Packs have one shape."
