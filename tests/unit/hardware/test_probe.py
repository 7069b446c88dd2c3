"""Looking at a machine, with a stand-in for the driver's library."""

# ruff: noqa: N802 - pynvml's own names

from __future__ import annotations

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from lfwrap.hardware import probe
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.probe import probe_hardware
from lfwrap.hardware.profile import DeviceKind
from lfwrap.units import GIB, MIB


class NvmlError(Exception):
    pass


class FakeNvml:
    """`pynvml` for a list of (name, total MiB, capability), with or without NVLink."""

    NVMLError = NvmlError

    def __init__(self, gpus, *, links=0, driver=True):
        self.gpus, self.links, self.driver, self.stopped = gpus, links, driver, False

    def nvmlInit(self):
        if not self.driver:
            raise NvmlError

    def nvmlShutdown(self):
        self.stopped = True

    def nvmlSystemGetDriverVersion(self):
        return b"580.1"

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"MIG-{handle[0]}part{handle[1]}" if isinstance(handle, tuple) else f"GPU-{handle}aaa"

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7 if "H100" in self.gpus[handle][0] else 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index > 1:
            raise NvmlError
        return handle, index

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return handle[0]

    def nvmlDeviceGetName(self, handle):
        whole = handle[0] if isinstance(handle, tuple) else handle
        return (self.gpus[whole][0] + (" MIG 1g.10gb" if isinstance(handle, tuple) else "")).encode()

    def nvmlDeviceGetMemoryInfo(self, handle):
        if isinstance(handle, tuple):
            return SimpleNamespace(total=9984 * MIB, free=9900 * MIB)
        return SimpleNamespace(total=self.gpus[handle][1] * MIB, free=(self.gpus[handle][1] - 500) * MIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        if isinstance(handle, tuple):
            raise NvmlError
        return self.gpus[handle][2]

    def nvmlDeviceGetNvLinkState(self, handle, link):
        if link >= self.links:
            raise NvmlError
        return 1


H100 = ("NVIDIA H100 80GB HBM3", 81559, (9, 0))
T4 = ("Tesla T4", 15360, (7, 5))


@pytest.fixture
def machine(monkeypatch):
    def look(*gpus, visible=None, **options):
        nvml = FakeNvml(gpus, **options)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        found = probe_hardware()
        assert nvml.stopped is nvml.driver
        return found

    return look


def test_no_driver_means_cpu(machine):
    found = machine(driver=False)
    assert found.is_cpu
    assert found.cpu_cores >= 1
    assert found.ram_bytes > 0


def test_no_gpu_means_cpu(machine):
    assert machine().is_cpu


def test_a_known_gpu_gets_its_rates(machine):
    found = machine(H100)
    gpu = found.gpus[0]
    assert (found.kind, found.driver, found.interconnect) == (DeviceKind.CUDA, "580.1", "none")
    assert gpu.bf16_flops == load_hardware("h100-80gb").gpus[0].bf16_flops
    assert (gpu.memory_bytes, gpu.free_bytes) == (81559 * MIB, 81059 * MIB)


def test_an_unknown_gpu_gets_what_the_driver_says(machine):
    gpu = machine(("NVIDIA Later 1000", 49152, (12, 1))).gpus[0]
    assert (gpu.name, gpu.memory_bytes, gpu.bf16, gpu.bf16_flops) == ("NVIDIA Later 1000", 48 * GIB, True, 0)


def test_an_old_gpu_has_no_bf16(machine):
    found = machine(T4)
    assert not found.supports_bf16
    assert not found.gpus[0].flash_attention


@pytest.mark.parametrize(("links", "expected"), [(0, "pcie"), (4, "nvlink")])
def test_links(machine, links, expected):
    assert machine(H100, H100, links=links).interconnect == expected


def test_mixed_gpus(machine):
    assert machine(H100, T4).is_mixed


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("", []),
        ("1", ["Tesla T4"]),
        ("1,0", ["Tesla T4", H100[0]]),
        ("GPU-1", ["Tesla T4"]),
        ("0,7,1", [H100[0]]),
        ("-1", []),
    ],
)
def test_hidden_gpus_are_left_out(machine, visible, names):
    assert [gpu.name for gpu in machine(H100, T4, visible=visible).gpus] == names


@pytest.mark.parametrize(
    ("brand", "ram_gib", "memory_gib", "bf16"), [("Apple M1", 16, 16 * 2 / 3, False), ("Apple M9 Max", 96, 72, True)]
)
def test_apple(monkeypatch, machine, *, brand, ram_gib, memory_gib, bf16):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(probe, "ram_bytes", lambda: ram_gib * GIB)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=f"{brand}\n"))
    found = machine(driver=False)
    assert (found.kind, found.interconnect) == (DeviceKind.MPS, "unified")
    assert found.device_memory_bytes == int(memory_gib * GIB)
    assert found.gpus[0].bf16 is bf16


def test_parts_of_a_gpu_are_found_by_their_names(machine):
    found = machine(T4, H100, visible="MIG-1part1, MIG-1part0")
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H100 80GB HBM3 MIG 1g.10gb"] * 2
    assert found.gpus[0].memory_bytes == 9984 * MIB
    assert (found.gpus[0].compute_capability, found.gpus[0].bf16_flops) == ((9, 0), 0.0)


def test_a_part_that_is_not_there_hides_those_after_it(machine):
    found = machine(H100, H100, visible="MIG-0part0,MIG-0part5,MIG-1part0")
    assert len(found.gpus) == 1
