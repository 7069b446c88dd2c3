"""A GPU with room for a model, for work that a training beside it must not suffer from."""

from __future__ import annotations

from lfwrap.hardware.probe import visible_handles

# Of a model's weights: what activations, a few hundred tokens of cache and CUDA itself take beside them.
_ROOM_FACTOR = 1.1
_ROOM_BYTES = 3 << 30


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
