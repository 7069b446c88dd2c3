"""Several processes, on one node or many, by torch's elastic launcher: started directly, or by the engine.

The engine starts the same by itself, but looks for ``torchrun`` on the PATH, splits its arguments at spaces, and saves
its checkpoint on SIGTERM in the middle of an update (the worker ``train_engine``).
"""

from __future__ import annotations

from lfwrap.errors import UsageError
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import LaunchRequest, launch_facts, training_command
from lfwrap.run.launch.launchers.nodes import DEFAULT_RENDEZVOUS


class TorchrunLauncher:
    """``python -m torch.distributed.run … lfwrap/worker train_engine engine.yaml``.

    By the engine: ``llamafactory-cli train``.
    """

    name = "torchrun"
    splits_at_spaces = True
    is_scheduler = False
    reaches_nodes = False
    starts_several = True
    package = None

    def build(self, request: LaunchRequest) -> Command:
        """The launcher for this node; with a rendezvous the nodes may come, go and start again.

        Raises:
            UsageError: the engine's own command is to keep the batch of an elastic run, which it does not.
        """
        if request.by_engine and request.nodes.is_elastic:
            raise UsageError(
                "--engine-cli: the engine's own command does not keep the effective batch when nodes come and go.",
                hint="Leave --engine-cli out, or give --nnodes one number.",
            )
        environment = dict(request.environment)
        if request.nodes.is_rendezvous:
            # torch 2.9 keeps one store for all starts: processes would look for those of the start before.
            environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        if request.by_engine:
            argv = (str(request.engine.cli), "train", str(request.paths.engine_yaml), *request.arguments)
            environment |= _engine_variables(request)
        else:
            meeting = _rendezvous(request) if request.nodes.is_rendezvous else _static(request)
            launcher = (str(request.engine.python), "-m", "torch.distributed.run")
            processes = ("--nproc_per_node", str(request.node_processes))
            argv = (*launcher, *processes, *meeting, *training_command(request))
        return Command(argv, request.cwd, environment, launch=launch_facts(request) if request.nodes.count > 1 else {})


def _static(request: LaunchRequest) -> tuple[str, ...]:
    nodes = request.nodes
    return (
        *("--nnodes", str(nodes.count), "--node_rank", str(nodes.rank)),
        *("--master_addr", nodes.address, "--master_port", str(request.meeting_port)),
    )


def _rendezvous(request: LaunchRequest) -> tuple[str, ...]:
    nodes = request.nodes
    count = f"{nodes.least}:{nodes.count}" if nodes.is_elastic else str(nodes.count)
    return (
        *("--nnodes", count, "--max_restarts", str(nodes.max_restarts)),
        *("--rdzv_id", nodes.rendezvous or DEFAULT_RENDEZVOUS, "--rdzv_backend", "c10d"),
        *("--rdzv_endpoint", f"{nodes.address}:{request.meeting_port}"),
        # Told from the host's name by torch otherwise, which goes wrong behind several names and in containers.
        *("--rdzv_conf", f"is_host={int(nodes.rank == 0)}"),
    )


def _engine_variables(request: LaunchRequest) -> dict[str, str]:
    """What the engine's own launcher reads."""
    nodes = request.nodes
    variables = {
        "FORCE_TORCHRUN": "1",
        "NNODES": str(nodes.count),
        "NODE_RANK": str(nodes.rank),
        "NPROC_PER_NODE": str(request.node_processes),
        "MASTER_ADDR": nodes.address,
        "MASTER_PORT": str(request.meeting_port),
    }
    if nodes.is_rendezvous:
        variables |= {"RDZV_ID": nodes.rendezvous or DEFAULT_RENDEZVOUS, "MAX_RESTARTS": str(nodes.max_restarts)}
    return variables
