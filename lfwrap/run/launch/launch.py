"""How a training is started: which processes, on which machines and devices, with which values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lfwrap.engine.locate import Engine
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.launchers.base import Launcher
from lfwrap.run.launch.launchers.nodes import Nodes


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a run is to be started, beside the launcher's name.

    Attributes:
        nodes: the machines.
        by_engine: by the engine's own command, ``llamafactory-cli train``.
        job: the options of a scheduler.
        extended: with the extension of the engine that ``speed: max`` asks for.
        compiled: with compiled layers.
    """

    nodes: Nodes = field(default_factory=Nodes)
    by_engine: bool = False
    job: Mapping[str, str] = field(default_factory=dict)
    extended: bool = False
    compiled: bool = False

    def to_json(self) -> dict[str, Any]:
        """The content of ``launch.json``."""
        kept = {"nodes": self.nodes.to_json(), "by_engine": self.by_engine, "job": dict(self.job)}
        return {**kept, "extended": self.extended, "compiled": self.compiled}


def load_launch(paths: RunPaths) -> LaunchOptions:
    """The options that a run was started with; a single node where the run has kept none."""
    try:
        value = orjson.loads(paths.launch.read_bytes())
        nodes, extended = Nodes.from_json(value["nodes"]), bool(value.get("extended"))
        return LaunchOptions(nodes, bool(value["by_engine"]), value["job"], extended, bool(value.get("compiled")))
    except (OSError, ValueError, KeyError, TypeError):
        return LaunchOptions()


def count_processes(node_processes: int, nodes: Nodes) -> int:
    """Processes on all nodes together: the hostfile's slots, else as many on each node."""
    return sum(host.slots for host in nodes.hosts) or node_processes * nodes.count


@dataclass(frozen=True, slots=True)
class TrainingStart:
    """One start of a run's training, as far as it is decided.

    Attributes:
        paths: the run.
        launcher: the way of starting.
        engine: the engine; None where there is none, and the command is only shown.
        hardware: this node's machine.
        world_size: processes on all nodes together.
        batch: how an update is made up; None when the recipe's own numbers make no sense.
        options: the nodes, and the options of a scheduler.
        values: the engine's values; of them the folders count that another machine would need, and the trackers.
        arguments: ``key=value`` arguments after the YAML.
    """

    paths: RunPaths
    launcher: Launcher
    engine: Engine | None
    hardware: HardwareProfile
    world_size: int = 1
    batch: BatchPlan | None = None
    options: LaunchOptions = field(default_factory=LaunchOptions)
    values: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    @property
    def on_gpu(self) -> bool:
        """Whether it trains on devices that CUDA or ROCm drive."""
        return self.hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}

    @property
    def node_processes(self) -> int:
        """Processes on this machine; all nodes have as many."""
        return max(1, self.world_size // self.options.nodes.count)

    def devices(self, environ: Mapping[str, str]) -> str | None:
        """The devices to show to them; see `choose_devices`."""
        return choose_devices(self.hardware, self.node_processes, environ.get("CUDA_VISIBLE_DEVICES"))


def choose_devices(hardware: HardwareProfile, count: int, visible: str | None) -> str | None:
    """``CUDA_VISIBLE_DEVICES`` for the GPUs with the most free memory; None when all there are can stay visible.

    Args:
        hardware: the machine; its GPUs in the order in which they are visible.
        count: GPUs wanted.
        visible: the variable as it is set: numbers, UUIDs or MIG names, whose choice is respected.
    """
    if hardware.is_cpu:
        return "" if hardware.name != "auto" else None
    names = [name.strip() for name in visible.split(",") if name.strip()] if visible else []
    if not hardware.gpus or (count >= len(hardware.gpus) and not names):
        return None
    names = names or [str(number) for number in range(len(hardware.gpus))]
    by_free = sorted(range(len(hardware.gpus)), key=lambda index: -(hardware.gpus[index].free_bytes or 0))
    return ",".join(names[index] for index in sorted(by_free[:count]) if index < len(names))
