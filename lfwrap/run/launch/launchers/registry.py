"""The launchers by name, and which of them a run takes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.run.launch.launchers.base import Launcher
    from lfwrap.run.launch.launchers.nodes import Nodes

# name → class; the modules stay unloaded until used, so that `lfwrap train --help` names them at no cost.
_CLASSES = {
    "process": "base.ProcessLauncher",
    "torchrun": "torchrun.TorchrunLauncher",
    "deepspeed": "deepspeed.DeepspeedLauncher",
    "ray": "ray.RayLauncher",
    "slurm": "slurm.SlurmLauncher",
    "skypilot": "skypilot.SkypilotLauncher",
}


class _Launchers(Mapping[str, "Launcher"]):
    """A launcher's module is imported when the launcher is first asked for."""

    def __getitem__(self, name: str) -> Launcher:
        module, _, kind = _CLASSES[name].partition(".")
        launcher: Launcher = getattr(importlib.import_module(f"{__package__}.{module}"), kind)()
        return launcher

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


LAUNCHERS: Mapping[str, Launcher] = _Launchers()
"""Name → launcher, as ``--launcher`` takes it."""


def choose_launcher(name: str, *, world_size: int, uses_deepspeed: bool, nodes: Nodes | None = None) -> Launcher:
    """The launcher of a name; ``auto`` takes one process where that does, DeepSpeed's with a hostfile, else torchrun.

    Args:
        name: ``auto`` or a key of `LAUNCHERS`.
        world_size: processes that train together.
        uses_deepspeed: whether the engine YAML names a DeepSpeed configuration, which needs a launcher.
        nodes: the machines; None is this one.

    Raises:
        UsageError: the launcher can't do that.
    """
    from lfwrap.run.launch.launchers.nodes import Nodes

    machines = nodes or Nodes()
    distributed = world_size > 1 or uses_deepspeed or machines.count > 1 or machines.max_restarts > 0
    if name == "auto":
        return LAUNCHERS["deepspeed" if machines.hosts else "torchrun" if distributed else "process"]
    if name == "process" and distributed:
        wanted = f"{world_size} processes" if world_size > 1 else "restarts" if machines.max_restarts else "DeepSpeed"
        raise UsageError(
            f"--launcher process: starts one process without DeepSpeed, but this run needs {wanted}",
            hint="Use --launcher torchrun or --launcher deepspeed.",
        )
    if machines.hosts and name != "deepspeed":
        raise UsageError(
            f"--launcher {name}: takes no hostfile.",
            hint="Use --launcher deepspeed, or start lfwrap on each node with --nnodes and --node-rank.",
        )
    return LAUNCHERS[name]
