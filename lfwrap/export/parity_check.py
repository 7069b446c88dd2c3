"""The comparison of all that an export made with base + adapter: the GPU for it, and its findings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from lfwrap.export.job import ExportFormat, ExportJob, ExportOrder
from lfwrap.hardware.probe import visible_handles
from lfwrap.inference.parity import ComparisonJob, ParityReport, Side, trained_side
from lfwrap.units import format_bytes

# Of a model's weights: what activations, a few hundred tokens of cache and CUDA itself take beside them.
_ROOM_FACTOR = 1.1
_ROOM_BYTES = 3 << 30
_TRAINED = "trained"


@contextlib.contextmanager
def early_reference(order: ExportOrder) -> Iterator[ComparisonJob | None]:
    """Base + adapter being asked while the weights are merged, where a GPU that nothing else here needs has room.

    On a CPU both would only slow each other down: None then, and where nothing is compared.
    """
    busy = order.options.device != "cpu" or "gptq" in order.options.formats
    devices = _choose_devices(order) if order.options.parity and not busy else None
    if not devices:
        yield None
        return
    with _comparison_job(order, devices) as job:
        yield job


def check_parity(
    job: ExportJob, formats: Sequence[ExportFormat], early: ComparisonJob | None
) -> tuple[ParityReport | None, dict[str, Any]]:
    """Hold everything that was made to base + adapter.

    Args:
        job: the export, every format made.
        formats: whose files were written.
        early: the reference, where it was asked meanwhile.

    Returns:
        The report on the merged model, where one was made, and what ``export.json`` says of the other formats.

    Raises:
        EngineError: a format does not answer as what was trained.
    """
    order, record = job.order, job.record
    order.say(f"comparing answers and logits on {len(order.options.questions)} questions")
    if early is not None:
        comparison = early.compare(_sides(job, formats, on_gpu=True))
    else:
        devices = _choose_devices(order)
        with _comparison_job(order, devices) as comparison_job:
            comparison = comparison_job.compare(_sides(job, formats, on_gpu=bool(devices)))
    record.timing["comparison"] = dict(comparison.timing)
    trained = comparison.reports.get(_TRAINED)
    effect = trained.effect() if trained else None
    if effect:
        record.notes.append(_quantization_effect(effect))
    judged = {one.name: one.judge(job, comparison) for one in formats if one.judge}
    merged = comparison.reports.get("merged")
    others = {name: found for name, found in judged.items() if name != "merged"}
    return merged, {"gguf": None, "gptq": None, **others, "quantized_base": effect}


def _sides(job: ExportJob, formats: Sequence[ExportFormat], *, on_gpu: bool) -> dict[str, Side]:
    sides = {one.name: one.side(job, on_gpu) for one in formats if one.side}
    target = job.order.target
    return sides | ({_TRAINED: trained_side(target)} if target.quantization and target.adapter else {})


def _comparison_job(order: ExportOrder, devices: str | None) -> ComparisonJob:
    options = order.options
    return ComparisonJob(order.engine, order.target, options.merged_dtype, questions=options.questions, devices=devices)


def _choose_devices(order: ExportOrder) -> str | None:
    """The GPU to compare on; empty when none has room, None where there is none."""
    size = order.target.base.weight_bytes() if order.target.base else 0
    devices, free_bytes = choose_gpu(size)
    if devices == "":
        order.say(f"no GPU has room for {format_bytes(size)} ({format_bytes(free_bytes)} free): comparing on the CPU")
    return devices


def choose_gpu(weights_bytes: int) -> tuple[str | None, int]:
    """The visible GPU with the most free memory, and how much that is.

    Returns:
        Its name for ``CUDA_VISIBLE_DEVICES``, which is empty when weights of that size have no room on any, and None
        where there is no GPU to choose from.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None, 0
    try:
        found = [
            (int(pynvml.nvmlDeviceGetMemoryInfo(handle).free), pynvml.nvmlDeviceGetUUID(handle))
            for handle in visible_handles(pynvml)
        ]
    except pynvml.NVMLError:
        return None, 0
    finally:
        pynvml.nvmlShutdown()
    if not found:
        return None, 0
    free_bytes, name = max(found)
    if free_bytes < weights_bytes * _ROOM_FACTOR + _ROOM_BYTES:
        return "", free_bytes
    return (name.decode() if isinstance(name, bytes) else str(name)), free_bytes


def _quantization_effect(effect: dict[str, Any]) -> str:
    return (
        f"the quantised base + adapter that was trained gives {effect['same_answers']} of {effect['questions']} of the "
        f"same greedy answers as the 16-bit base + adapter that ships; {effect['top_token_agreement']:.1%} of tokens "
        f"agree, logits differ by {effect['mean_abs_logit_difference']:.2g} on average"
    )
