"""Several processes on a Ray cluster, as the engine does with ``USE_RAY=1``; without a cluster, on a local one."""

from __future__ import annotations

from lfwrap.engine.arguments import worker_argv
from lfwrap.errors import UsageError
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import LaunchRequest


class RayLauncher:
    """``USE_RAY=1 python lfwrap/worker train_ray engine.yaml ray_num_workers=N``.

    The cluster is that of ``RAY_ADDRESS``.
    """

    name = "ray"
    splits_at_spaces = False
    is_scheduler = False
    reaches_nodes = True
    starts_several = True
    package = "ray"

    def build(self, request: LaunchRequest) -> Command:
        """The driver, which starts one actor a process.

        Raises:
            UsageError: nodes are to come and go, or the engine's own command is wanted.
        """
        nodes = request.nodes
        if nodes.is_rendezvous or request.by_engine:
            raise UsageError(
                "--launcher ray: the engine's Ray training has a fixed number of processes and is not started by hand.",
                hint="Leave out --max-restarts, --rdzv-id and --engine-cli; Ray finds its nodes itself.",
            )
        environment = {
            **request.environment,
            "USE_RAY": "1",
            # Equal lines of different ranks are both kept, and nobody is told that Ray is used.
            "RAY_DEDUP_LOGS": "0",
            "RAY_COLOR_PREFIX": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        workers = f"ray_num_workers={request.world_size}"
        argv = (
            str(request.engine.python),
            *worker_argv("train_ray"),
            str(request.paths.engine_yaml),
            workers,
            *request.arguments,
        )
        return Command(argv, request.cwd, environment)
