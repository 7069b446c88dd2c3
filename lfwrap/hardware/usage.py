"""Memory in use and utilisation of the GPUs at this moment, by the driver's library."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from lfwrap.hardware.probe import visible_handles
from lfwrap.units import GIB


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Memory in use on the fullest of some GPUs, and their mean utilisation.

    Attributes:
        used_bytes: memory in use on it, by any process.
        total_bytes: memory that it has.
        busy_percent: part of the last moment in which a kernel ran, the mean of all GPUs.
    """

    used_bytes: int
    total_bytes: int
    busy_percent: int

    def __str__(self) -> str:
        """The usage as text, such as ``GPU 71.2/79.6 GiB 98%``."""
        return f"GPU {self.used_bytes / GIB:.1f}/{self.total_bytes / GIB:.1f} GiB {self.busy_percent}%"


class GpuMeter:
    """Reads the usage of GPUs from the driver, in about a millisecond."""

    def __init__(self, visible: str | None = None) -> None:
        """Open the driver's library.

        Args:
            visible: as ``CUDA_VISIBLE_DEVICES`` has it; None takes this process's own.
        """
        self._nvml: Any = None
        self._handles: list[Any] = []
        import pynvml

        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._handles = visible_handles(pynvml, visible)
            self._nvml = pynvml

    def read(self) -> GpuUsage | None:
        """The usage at this moment; None without a GPU, or when the driver does not answer."""
        if not self._handles:
            return None
        try:
            memories = [self._nvml.nvmlDeviceGetMemoryInfo(handle) for handle in self._handles]
            busy = [self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self._handles]
        except self._nvml.NVMLError:
            return None
        fullest = max(memories, key=lambda memory: memory.used / memory.total)
        return GpuUsage(int(fullest.used), int(fullest.total), round(sum(busy) / len(busy)))
