"""What a launcher is given and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lfwrap.engine.worker_scripts import worker_argv
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.nodes import DEFAULT_PORT, Nodes

# `lfwrap train --help` names the launchers: what only their work needs is imported there.
if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine

RESTART_VARIABLE = "LFWRAP_RESTART"
"""For the worker: the batch to keep and the folder of checkpoints, when torchrun may start the processes again."""

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
        world_size: processes on all nodes together.
        port: a free TCP port for their meeting, where the nodes name none.
        nodes: the machines.
        on_gpu: whether they train on CUDA devices.
        devices: the CUDA devices to show them, as ``CUDA_VISIBLE_DEVICES`` has it; None leaves it as it is.
        cpu_cores: cores of the machine; shared by its processes when they train on the CPU.
        arguments: ``key=value`` arguments after the YAML.
        environment: further variables to add, which win.
        by_engine: start by the engine's own command, ``llamafactory-cli train``.
        batch: (micro-batch, effective batch), to be kept by processes that are started again in another number.
        options: what a scheduler is told (``--job KEY=VALUE``).
        lfwrap: the command that starts lfwrap on another machine.
        uploads: keys of the recipe that name a folder here, for a machine that has none of them.
    """

    engine: Engine
    engine_yaml: Path
    cwd: Path
    world_size: int = 1
    port: int = DEFAULT_PORT
    nodes: Nodes = field(default_factory=Nodes)
    on_gpu: bool = False
    devices: str | None = None
    cpu_cores: int = 1
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    by_engine: bool = False
    batch: tuple[int, int] | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    lfwrap: tuple[str, ...] = ("lfwrap",)
    uploads: Mapping[str, Path] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The run's folder."""
        return self.engine_yaml.parent

    @property
    def node_processes(self) -> int:
        """Processes on this machine; all nodes have as many."""
        return max(1, self.world_size // self.nodes.count)

    @property
    def meeting_port(self) -> int:
        """The port of the meeting: the given one; with several nodes the usual one, on one node a free one."""
        return self.nodes.port or (DEFAULT_PORT if self.nodes.count > 1 else self.port)


class Launcher(Protocol):
    """A way to start the engine."""

    @property
    def name(self) -> str:
        """As ``--launcher`` spells it."""

    @property
    def splits_at_spaces(self) -> bool:
        """Whether the command, or the engine's own way to the same end, breaks on paths with white space."""

    @property
    def is_scheduler(self) -> bool:
        """Whether the command hands the run over to a scheduler, which starts lfwrap elsewhere and later."""

    @property
    def reaches_nodes(self) -> bool:
        """Whether one command starts the processes of all nodes; otherwise lfwrap is started on each."""

    @property
    def package(self) -> str | None:
        """The package that the engine's Python needs for it."""

    def build(self, request: LaunchRequest) -> Command:
        """The command for a request; pure but for the template that it renders.

        Raises:
            UsageError: the launcher can't do that.
        """


def common_environment(request: LaunchRequest) -> dict[str, str]:
    """The variables that every launcher adds."""
    added = dict(_COMMON) | dict(request.environment)
    if request.devices is not None:
        added["CUDA_VISIBLE_DEVICES"] = request.devices
        if request.devices and request.devices.replace(",", "").isdecimal():
            # The driver counts GPUs by slot, CUDA by speed: on a mixed machine the numbers would mean others.
            added.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if request.nodes.is_rendezvous and request.batch is not None:
        import json

        added[RESTART_VARIABLE] = json.dumps(
            {"micro": request.batch[0], "effective": request.batch[1], "output": str(request.root / "output")}
        )
    return added


def distributed_environment(request: LaunchRequest) -> dict[str, str]:
    """The variables for several processes: what the engine's own launcher sets, and a fair share of the CPU.

    The allocator's setting comes with the request: only who sees the person's own can respect it.
    """
    added = common_environment(request)
    if request.on_gpu:
        added["TORCH_NCCL_AVOID_RECORD_STREAMS"] = "1"
    else:
        added["OMP_NUM_THREADS"] = str(max(1, request.cpu_cores // request.node_processes))
    return added


def launch_facts(request: LaunchRequest) -> dict[str, Any]:
    """What another node needs to start its part of the same attempt; kept in ``command.json``."""
    place = {"address": request.nodes.address, "port": request.meeting_port}
    return {"meeting": request.nodes.meeting, **place, "arguments": list(request.arguments)}


def training_command(request: LaunchRequest) -> tuple[str, ...]:
    """The script, the YAML and what replaces values of it."""
    return (*worker_argv("train_engine"), str(request.engine_yaml), *request.arguments)
