"""Several processes by torch's elastic launcher, started directly.

The engine would start the same by itself, but looks for ``torchrun`` on the PATH and splits its arguments at spaces.
"""

from __future__ import annotations

from lfwrap.run.command import Command
from lfwrap.run.launchers.base import TRAIN_SCRIPT, LaunchRequest, distributed_environment


class TorchrunLauncher:
    """``python -m torch.distributed.run … train_engine.py engine.yaml``."""

    name = "torchrun"
    splits_at_spaces = True

    def build(self, request: LaunchRequest) -> Command:
        """The launcher with one node and a port of its own."""
        argv = (
            str(request.engine.python),
            *("-m", "torch.distributed.run"),
            *("--nnodes", "1", "--node_rank", "0", "--nproc_per_node", str(request.world_size)),
            *("--master_addr", "127.0.0.1", "--master_port", str(request.port)),
            str(TRAIN_SCRIPT),
            str(request.engine_yaml),
            *request.arguments,
        )
        return Command(argv, request.cwd, distributed_environment(request))
