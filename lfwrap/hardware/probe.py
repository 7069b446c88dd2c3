"""Probe this machine: NVIDIA GPUs through the driver's library, Apple's GPU and the CPU through the system."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile, catalog_gpu, has_bf16
from lfwrap.units import GIB

_MAX_NVLINKS = 18
_SMALL_MAC_BYTES = 36 * GIB


def probe_hardware() -> HardwareProfile:
    """The hardware of this machine, as it is now; never imports torch.

    GPUs that ``CUDA_VISIBLE_DEVICES`` hides are left out, as the engine would not see them either.
    """
    machine = HardwareProfile(name="auto", kind=DeviceKind.CPU, cpu_cores=_cpu_cores(), ram_bytes=ram_bytes())
    with _nvml() as nvml:
        if nvml is not None:
            handles = visible_handles(nvml)
            if handles:
                return replace(
                    machine,
                    kind=DeviceKind.CUDA,
                    gpus=tuple(_probe_gpu(nvml, handle) for handle in handles),
                    interconnect=_interconnect(nvml, handles),
                    driver=_text(nvml.nvmlSystemGetDriverVersion()),
                )
    apple = _probe_apple(machine.ram_bytes)
    if apple is not None:
        return replace(machine, kind=DeviceKind.MPS, gpus=(apple,), interconnect="unified")
    return machine


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    """The driver's library, started; None where there is no NVIDIA driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def visible_handles(nvml: Any, visible: str | None = None) -> list[Any]:
    """The GPUs that a process may use: those of ``visible``, or of ``CUDA_VISIBLE_DEVICES`` where it is None."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return handles
    uuids = {_text(nvml.nvmlDeviceGetUUID(handle)): handle for handle in handles}
    if "MIG-" in visible:
        uuids |= {_text(nvml.nvmlDeviceGetUUID(part)): part for gpu in handles for part in _mig_devices(nvml, gpu)}
    chosen: list[Any] = []
    for part in filter(None, (piece.strip() for piece in visible.split(","))):
        if part.isdecimal() and int(part) < len(handles):
            chosen.append(handles[int(part)])
        else:
            matches = [handle for uuid, handle in uuids.items() if uuid.startswith(part)]
            if not matches:
                break  # CUDA also stops at the first device that does not exist
            chosen.append(matches[0])
    return chosen


def _mig_devices(nvml: Any, gpu: Any) -> list[Any]:
    """The MIG devices that a GPU is divided into; none where it is not divided, or can't be."""
    found = []
    with contextlib.suppress(nvml.NVMLError):
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with contextlib.suppress(nvml.NVMLError):  # fewer parts than there could be
                found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return found


def _capability(nvml: Any, handle: Any) -> tuple[int, int]:
    """CUDA's compute capability (major, minor); a MIG device has that of its GPU."""
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        whole = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(whole)
    return int(major), int(minor)


def _probe_gpu(nvml: Any, handle: Any) -> Gpu:
    name = _text(nvml.nvmlDeviceGetName(handle))
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = _capability(nvml, handle)
    bf16 = has_bf16((major, minor))
    # The catalogue's rates are those of a whole GPU.
    known = (None if " MIG " in name else catalog_gpu(name)) or Gpu(name, memory.total)
    return replace(
        known,
        name=name,
        memory_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=(major, minor),
        bf16=bf16,
    )


def _interconnect(nvml: Any, handles: list[Any]) -> str:
    """``nvlink`` when the first GPU has an active NVLink, else ``pcie``; ``none`` for a single GPU."""
    if len(handles) == 1:
        return "none"
    for link in range(_MAX_NVLINKS):
        try:
            if nvml.nvmlDeviceGetNvLinkState(handles[0], link):
                return "nvlink"
        except nvml.NVMLError:
            break
    return "pcie"


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _cpu_cores() -> int:
    with contextlib.suppress(AttributeError):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ram_bytes() -> int:
    """Main memory, or the container's limit where that is smaller."""
    import psutil

    total: int = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return min(total, int(Path(path).read_text(encoding="ascii")))
    return total


def _probe_apple(ram_bytes: int) -> Gpu | None:
    """Apple silicon's GPU; memory is Metal's default working set (2/3 of the RAM up to 36 GB, 3/4 above)."""
    if platform.system() != "Darwin" or platform.machine() != "arm64":
        return None
    brand = subprocess.run(
        ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
    ).stdout.strip()
    share = 2 / 3 if ram_bytes <= _SMALL_MAC_BYTES else 3 / 4
    name = brand or "Apple GPU"
    known = catalog_gpu(name) or Gpu(name, 0, bf16=not name.startswith("Apple M1"))
    return replace(known, memory_bytes=int(ram_bytes * share))
