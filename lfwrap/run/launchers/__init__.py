"""Ways to start the engine: one small file each, one interface (`Launcher`)."""

from __future__ import annotations

from lfwrap.errors import UsageError
from lfwrap.run.launchers.base import Launcher, LaunchRequest
from lfwrap.run.launchers.deepspeed import DeepspeedLauncher
from lfwrap.run.launchers.process import ProcessLauncher
from lfwrap.run.launchers.torchrun import TorchrunLauncher

LAUNCHERS: dict[str, Launcher] = {
    launcher.name: launcher for launcher in (ProcessLauncher(), TorchrunLauncher(), DeepspeedLauncher())
}
"""Name → launcher, as ``--launcher`` takes it."""


def choose_launcher(name: str, *, world_size: int, uses_deepspeed: bool) -> Launcher:
    """The launcher of a name; ``auto`` takes one process where that does, else torchrun.

    Args:
        name: ``auto`` or a key of `LAUNCHERS`.
        world_size: processes that train together.
        uses_deepspeed: whether the engine YAML names a DeepSpeed configuration, which needs a launcher.

    Raises:
        UsageError: the launcher can't do that.
    """
    distributed = world_size > 1 or uses_deepspeed
    if name == "auto":
        return LAUNCHERS["torchrun" if distributed else "process"]
    if name == "process" and distributed:
        wanted = f"{world_size} processes" if world_size > 1 else "DeepSpeed"
        raise UsageError(
            f"--launcher process: starts one process without DeepSpeed, but this run needs {wanted}",
            hint="Use --launcher torchrun or --launcher deepspeed.",
        )
    return LAUNCHERS[name]


__all__ = ["LAUNCHERS", "LaunchRequest", "Launcher", "choose_launcher"]
