"""Several processes by DeepSpeed's launcher: on this node, on the hosts of a hostfile, or one node at a time."""

from __future__ import annotations

from pathlib import Path

from lfwrap.engine.arguments import worker_argv
from lfwrap.errors import UsageError
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import (
    LaunchRequest,
    launch_facts,
    training_command,
)


class DeepspeedLauncher:
    """``deepspeed --no_local_rank --num_gpus N lfwrap/worker train_engine engine.yaml``.

    Without ``--no_local_rank`` the launcher puts an argument before the YAML, and the engine never reads the YAML.
    With a hostfile it starts the processes of all hosts by pdsh and ssh; without one, on several nodes, each node has
    an lfwrap of its own, and the launcher is told by ``--no_ssh`` to start only the processes there.
    """

    name = "deepspeed"
    splits_at_spaces = True
    is_scheduler = False
    reaches_nodes = False
    starts_several = True
    package = "deepspeed"

    def build(self, request: LaunchRequest) -> Command:
        """The launcher; a choice of devices goes by ``--include``, which it wants instead of the variable.

        Raises:
            UsageError: the devices are named by UUID, or nodes are to come and go.
        """
        nodes = request.nodes
        if nodes.is_rendezvous or request.by_engine:
            raise UsageError(
                "--launcher deepspeed: can't start lost processes again and isn't the engine's own command.",
                hint="Use --launcher torchrun for --nnodes LEAST:MOST, --max-restarts, --rdzv-id and --engine-cli.",
            )
        several = nodes.count > 1
        hostfile = request.paths.hostfile
        where = _on_nodes(request, hostfile) if several else _on_this_node(request)
        # With a hostfile and no address, DeepSpeed asks the first host for its own: its name may only be known to ssh.
        address = () if nodes.hosts and not nodes.address else ("--master_addr", nodes.address)
        meeting = (*address, "--master_port", str(request.meeting_port))
        runner = worker_argv("deepspeed_hosts") if nodes.hosts else ("-m", "deepspeed.launcher.runner")
        argv = (str(request.engine.python), *runner, "--no_local_rank", *where, *meeting, *training_command(request))
        environment = {name: value for name, value in request.environment.items() if name != "CUDA_VISIBLE_DEVICES"}
        if not several:
            return Command(argv, request.cwd, environment)
        facts = {} if nodes.hosts else launch_facts(request)
        return Command(argv, request.cwd, environment, files={hostfile: _hostfile(request)}, launch=facts)


def _on_this_node(request: LaunchRequest) -> tuple[str, ...]:
    devices = _chosen_devices(request)
    return ("--include", f"localhost:{devices}") if devices else ("--num_gpus", str(request.world_size))


def _chosen_devices(request: LaunchRequest) -> str:
    """The numbers of the chosen GPUs; empty where there is no choice.

    Raises:
        UsageError: they are named otherwise.
    """
    if not (request.devices and request.on_gpu):
        return ""
    if not request.devices.replace(",", "").isdecimal():
        raise UsageError(
            f"--launcher deepspeed: takes GPUs by number only, CUDA_VISIBLE_DEVICES says {request.devices}.",
            hint="Use --launcher torchrun, which takes UUIDs and MIG names.",
        )
    return request.devices


def _on_nodes(request: LaunchRequest, hostfile: Path) -> tuple[str, ...]:
    given, rank = ("--hostfile", str(hostfile)), request.nodes.rank
    if request.nodes.hosts:
        return given
    devices = _chosen_devices(request)
    others = ",".join(map(str, range(request.node_processes)))  # only their number counts here
    chosen = [f"node-{node}:{devices if node == rank else others}" for node in range(request.nodes.count)]
    include = ("--include", "@".join(chosen)) if devices else ()
    return (*given, "--no_ssh", "--node_rank", str(rank), *include)


def _hostfile(request: LaunchRequest) -> str:
    """The hosts as given; without any, a line for each node, whose name only has to differ."""
    hosts = [(host.name, host.slots) for host in request.nodes.hosts]
    hosts = hosts or [(f"node-{rank}", request.node_processes) for rank in range(request.nodes.count)]
    return "".join(f"{name} slots={slots}\n" for name, slots in hosts)
