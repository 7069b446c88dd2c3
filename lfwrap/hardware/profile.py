"""A machine's hardware: GPUs with their memory and rates, links between them, CPU and main memory."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lfwrap.errors import PreflightError, UsageError
from lfwrap.units import GIB, MIB, plural
from lfwrap.yaml_files import load_yaml

_CATALOG = Path(__file__).with_name("catalog.yaml")
_FIRST_WITH_BF16 = (8, 0)
# What a profile file may hold: the fields of `HardwareProfile`, memory also in GiB, and what ``--json`` adds.
_PROFILE_KEYS = frozenset(
    {"schema", "name", "kind", "gpus", "cpu_cores", "ram_bytes", "ram_gib", "interconnect", "driver", "world_size"}
)


class DeviceKind(StrEnum):
    """The kind of device that the engine computes on."""

    CUDA = "cuda"
    ROCM = "rocm"
    MPS = "mps"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, with its memory and its peak rates.

    Attributes:
        name: the name that the driver or the maker gives it.
        memory_bytes: all of its memory, as the driver counts it.
        compute_capability: CUDA's (major, minor), or None where there is none.
        bandwidth_bytes_per_s: peak memory bandwidth; 0 when unknown.
        bf16_flops: peak dense bf16 FLOP/s with fp32 accumulation; 0 when it has no bf16 units or is unknown.
        fp16_flops: likewise for fp16.
        int8_ops: peak dense int8 operations a second; 0 when unknown.
        bf16: whether it computes in bf16 in hardware.
        free_bytes: memory that was free when it was probed; None for a machine other than this one.
        source: the document that the rates come from.
    """

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int] | None = None
    bandwidth_bytes_per_s: float = 0.0
    bf16_flops: float = 0.0
    fp16_flops: float = 0.0
    int8_ops: float = 0.0
    bf16: bool = True
    free_bytes: int | None = None
    source: str = ""

    @property
    def compute_flops(self) -> float:
        """Peak FLOP/s in the 16-bit type that training would use on it."""
        return self.bf16_flops if self.bf16 else self.fp16_flops

    @property
    def flash_attention(self) -> bool:
        """Whether fused attention kernels exist for it (compute capability 8.0 and up)."""
        return self.compute_capability is not None and self.compute_capability >= _FIRST_WITH_BF16


@dataclass(frozen=True, slots=True)
class HardwareProfile:
    """The hardware of one machine.

    Attributes:
        name: catalogue name, file name or ``auto``.
        kind: what the engine computes on.
        gpus: its accelerators; empty on a CPU machine.
        cpu_cores: physical or virtual cores, as the operating system counts them.
        ram_bytes: main memory.
        interconnect: ``nvlink``, ``pcie``, ``unified`` or ``none``.
        driver: the GPU driver's version, where it was probed.
    """

    name: str
    kind: DeviceKind
    gpus: tuple[Gpu, ...] = ()
    cpu_cores: int = 1
    ram_bytes: int = 8 * GIB
    interconnect: str = "none"
    driver: str = ""

    @property
    def world_size(self) -> int:
        """Training processes: one for each GPU; one on a CPU."""
        return max(1, len(self.gpus))

    @property
    def is_cpu(self) -> bool:
        """Whether training runs on the CPU."""
        return self.kind is DeviceKind.CPU

    @property
    def supports_bf16(self) -> bool:
        """Whether every GPU computes in bf16. False on a CPU, where bf16 works but is many times slower."""
        return bool(self.gpus) and all(gpu.bf16 for gpu in self.gpus)

    @property
    def supports_quantization(self) -> bool:
        """Whether bitsandbytes' 4- and 8-bit layers run at a useful speed (NVIDIA and AMD GPUs)."""
        return self.kind in {DeviceKind.CUDA, DeviceKind.ROCM}

    @property
    def is_mixed(self) -> bool:
        """Whether its GPUs differ in model or memory: the smallest one then sets the limit for all."""
        return len({(gpu.name, gpu.memory_bytes // GIB) for gpu in self.gpus}) > 1

    @property
    def smallest_gpu(self) -> Gpu | None:
        """The GPU with the least memory, or None on a CPU."""
        return min(self.gpus, key=lambda gpu: gpu.memory_bytes, default=None)

    @property
    def device_memory_bytes(self) -> int:
        """Memory of the smallest GPU; on a CPU the main memory."""
        gpu = self.smallest_gpu
        return gpu.memory_bytes if gpu else self.ram_bytes

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return {**asdict(self), "kind": str(self.kind), "world_size": self.world_size}

    def to_profile(self) -> dict[str, Any]:
        """The values of a profile file, which `load_profile` reads back; free memory is left out."""
        gpus = [
            {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(gpu).items() if value}
            | {"bf16": gpu.bf16}
            for gpu in self.gpus
        ]
        for gpu in gpus:
            gpu.pop("free_bytes", None)
        machine = {key: value for key, value in asdict(self).items() if value and key != "gpus"}
        return {**machine, "kind": str(self.kind), **({"gpus": gpus} if gpus else {})}


def choose_world_size(gpus: int | None, hardware: HardwareProfile) -> int:
    """The number of training processes: ``gpus``, or one for each GPU where it is None.

    Raises:
        UsageError: ``gpus`` is less than 1, or more than the machine has.

    Example:
        >>> choose_world_size(None, catalog_machine("h100-80gb", 8)), choose_world_size(2, catalog_machine("cpu"))
        (8, 2)
    """
    if gpus is None:
        return hardware.world_size
    if gpus < 1 or (hardware.gpus and gpus > len(hardware.gpus)):
        raise UsageError(
            f"--gpus {gpus}: {hardware.name} has {plural(len(hardware.gpus), 'GPU')}.",
            hint="Give a number from 1 up to that; on a CPU it is the number of processes.",
        )
    return gpus


@functools.cache
def _catalog() -> Mapping[str, Mapping[str, Any]]:
    return load_yaml(_CATALOG).values["machines"]  # type: ignore[no-any-return]


def catalog_names() -> tuple[str, ...]:
    """The names of the catalogue's machines; ``N x NAME`` stands for several GPUs in one host."""
    return tuple(_catalog())


def catalog_gpu(device_name: str) -> Gpu | None:
    """The catalogue's GPU for the name that a driver gives it; None when it is unknown.

    Example:
        >>> catalog_gpu("NVIDIA H100 80GB HBM3").bandwidth_bytes_per_s
        3350000000000.0
    """
    for entry in _catalog().values():
        pattern = entry.get("device")
        same = entry.get("gpu") == device_name
        if same or (pattern and re.search(pattern, device_name, re.IGNORECASE)):
            return parse_gpu(entry, entry["gpu"])
    return None


def has_bf16(compute_capability: Sequence[int] | None) -> bool:
    """Whether CUDA devices of this compute capability compute in bf16; Ampere (8.0) was the first.

    Example:
        >>> has_bf16((7, 5)), has_bf16((8, 0))
        (False, True)
    """
    return compute_capability is not None and tuple(compute_capability) >= _FIRST_WITH_BF16


def parse_gpu(entry: Mapping[str, Any], name: str) -> Gpu:
    """A GPU from a catalogue entry or a profile file.

    Its memory is ``memory_bytes``, ``memory_mib`` or ``memory_gib``; its rates are ``bandwidth_gb_s``, ``bf16_tflops``,
    ``fp16_tflops`` and ``int8_tops`` (or bear the names that `Gpu` has for them).

    Raises:
        KeyError: the entry has no memory.

    Example:
        >>> gpu = parse_gpu({"memory_gib": 24, "bandwidth_gb_s": 936, "compute_capability": [8, 6]}, "RTX 3090")
        >>> gpu.memory_bytes, gpu.bandwidth_bytes_per_s, gpu.bf16
        (25769803776, 936000000000.0, True)
    """
    memory_bytes = entry.get("memory_bytes") or entry.get("memory_mib", 0) * MIB or int(entry["memory_gib"] * GIB)
    capability = entry.get("compute_capability")
    bf16_flops = entry.get("bf16_flops", entry.get("bf16_tflops", 0) * 1e12)
    return Gpu(
        name=name,
        memory_bytes=int(memory_bytes),
        compute_capability=(int(capability[0]), int(capability[1])) if capability else None,
        bandwidth_bytes_per_s=entry.get("bandwidth_bytes_per_s", entry.get("bandwidth_gb_s", 0) * 1e9),
        bf16_flops=bf16_flops,
        fp16_flops=entry.get("fp16_flops", entry.get("fp16_tflops", 0) * 1e12),
        int8_ops=entry.get("int8_ops", entry.get("int8_tops", 0) * 1e12),
        bf16=bool(entry.get("bf16", bf16_flops > 0 or has_bf16(capability))),
        free_bytes=entry.get("free_bytes"),
        source=entry.get("source", ""),
    )


def catalog_machine(name: str, count: int = 1) -> HardwareProfile:
    """One host with ``count`` GPUs of a machine of the catalogue.

    Raises:
        KeyError: the catalogue has no such name.

    Example:
        >>> machine = catalog_machine("h100-80gb", 2)
        >>> machine.name, machine.world_size, machine.interconnect
        ('2x-h100-80gb', 2, 'nvlink')
    """
    entry = _catalog()[name]
    kind = DeviceKind(entry["kind"])
    gpus = () if kind is DeviceKind.CPU else (parse_gpu(entry, entry["gpu"]),) * count
    return HardwareProfile(
        name=name if count == 1 else f"{count}x-{name}",
        kind=kind,
        gpus=gpus,
        cpu_cores=entry["cpu_cores"] * count,
        ram_bytes=entry["ram_gib"] * GIB * count,
        interconnect=entry["interconnect"] if count > 1 or kind is DeviceKind.MPS else "none",
    )


def load_profile(path: Path) -> HardwareProfile:
    """Read a profile file, which has the keys of `HardwareProfile`; equal GPUs may be one entry with a ``count``.

    Raises:
        PreflightError: a key is missing or unknown, or has a wrong value.
        RecipeError: the file is missing or is not valid YAML.
    """
    values = load_yaml(path).values
    unknown = sorted(values.keys() - _PROFILE_KEYS)
    if unknown or not values:
        raise PreflightError(
            f"{path}: not a hardware profile: {f'unknown key {unknown[0]}' if unknown else 'it is empty'}",
            hint="`lfwrap hardware probe --out FILE` writes one to start from.",
        )
    try:
        gpus = tuple(
            parse_gpu(entry, str(entry["name"]))
            for entry in values.get("gpus", ())
            for _ in range(entry.get("count", 1))
        )
        kind = DeviceKind(values.get("kind", "cuda" if gpus else "cpu"))
        return HardwareProfile(
            name=str(values.get("name", path.stem)),
            kind=kind,
            gpus=gpus,
            cpu_cores=int(values.get("cpu_cores", 8)),
            ram_bytes=int(values.get("ram_bytes", values.get("ram_gib", 32) * GIB)),
            interconnect=str(values.get("interconnect", "pcie" if len(gpus) > 1 else "none")),
            driver=str(values.get("driver", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise PreflightError(
            f"{path}: not a hardware profile: {type(error).__name__}: {error}",
            hint="`lfwrap hardware probe --out FILE` writes one to start from.",
        ) from error
