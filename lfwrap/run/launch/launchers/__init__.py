"""Ways to start the engine: one small file each, one interface (`Launcher`)."""

from __future__ import annotations

from lfwrap.errors import UsageError
from lfwrap.run.launch.launchers.base import Launcher, LaunchRequest
from lfwrap.run.launch.launchers.deepspeed import DeepspeedLauncher
from lfwrap.run.launch.launchers.nodes import Nodes
from lfwrap.run.launch.launchers.process import ProcessLauncher
from lfwrap.run.launch.launchers.ray import RayLauncher
from lfwrap.run.launch.launchers.skypilot import SkypilotLauncher
from lfwrap.run.launch.launchers.slurm import SlurmLauncher
from lfwrap.run.launch.launchers.torchrun import TorchrunLauncher

LAUNCHERS: dict[str, Launcher] = {
    launcher.name: launcher
    for launcher in (
        ProcessLauncher(),
        TorchrunLauncher(),
        DeepspeedLauncher(),
        RayLauncher(),
        SlurmLauncher(),
        SkypilotLauncher(),
    )
}
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


__all__ = ["LAUNCHERS", "LaunchRequest", "Launcher", "Nodes", "choose_launcher"]
