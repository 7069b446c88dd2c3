"""What a launcher is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lfwrap.engine.locate import Engine
from lfwrap.run.command import Command

TRAIN_SCRIPT = Path(__file__).resolve().parents[2] / "worker" / "train_engine.py"
"""Runs in the engine's Python: the engine's own training, stopped well on SIGTERM."""

_COMMON = {
    # GBK or ASCII locales break the engine's reading of UTF-8 files (LF#2877).
    "PYTHONUTF8": "1",
    # Log lines reach the file when they are written, not 8 KiB later.
    "PYTHONUNBUFFERED": "1",
    # Loader workers are forked after the tokenizer was used: it would warn and switch itself off then.
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One start of the engine.

    Attributes:
        engine: the engine to start.
        engine_yaml: the plain LLaMA-Factory YAML.
        cwd: the working directory; relative paths in the recipe count from there.
        world_size: processes to start.
        port: a free TCP port for their meeting.
        on_gpu: whether they train on CUDA devices.
        devices: the CUDA devices to show them, as ``CUDA_VISIBLE_DEVICES`` has it; None leaves it as it is.
        cpu_cores: cores of the machine; shared by the processes when they train on the CPU.
        arguments: ``key=value`` arguments after the YAML.
        environment: further variables to add, which win.
    """

    engine: Engine
    engine_yaml: Path
    cwd: Path
    world_size: int = 1
    port: int = 29500
    on_gpu: bool = False
    devices: str | None = None
    cpu_cores: int = 1
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class Launcher(Protocol):
    """A way to start the engine."""

    @property
    def name(self) -> str:
        """As ``--launcher`` spells it."""

    @property
    def splits_at_spaces(self) -> bool:
        """Whether the command, or the engine's own way to the same end, breaks on paths with white space."""

    def build(self, request: LaunchRequest) -> Command:
        """The command for a request; pure."""


def common_environment(request: LaunchRequest) -> dict[str, str]:
    """The variables that every launcher adds."""
    added = dict(_COMMON) | dict(request.environment)
    if not request.on_gpu:
        # Threads that spin at barriers while another program has their core slow each other down several times.
        added.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if request.devices is not None:
        added["CUDA_VISIBLE_DEVICES"] = request.devices
    return added


def distributed_environment(request: LaunchRequest) -> dict[str, str]:
    """The variables for several processes: what the engine's own launcher sets, and a fair share of the CPU."""
    added = common_environment(request)
    if request.on_gpu:
        added |= {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "TORCH_NCCL_AVOID_RECORD_STREAMS": "1"}
    else:
        added["OMP_NUM_THREADS"] = str(max(1, request.cpu_cores // request.world_size))
    return added
