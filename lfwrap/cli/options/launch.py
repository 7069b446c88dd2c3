"""The options of `train` and `runs resume` that say how and where the processes are started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lfwrap.run.launch.launch import LaunchOptions
    from lfwrap.run.launch.launchers import Nodes

STARTERS = ("auto", "process", "torchrun", "deepspeed", "ray")
"""The launchers that start the processes; `train` also takes the schedulers."""

_MEETING = (
    click.option(
        "--node-rank",
        type=click.IntRange(min=0),
        envvar="NODE_RANK",
        help="Which node this is, from 0; node 0 makes the run's folder and writes its record.",
    ),
    click.option("--master-addr", envvar="MASTER_ADDR", metavar="HOST", help="Where node 0 is reached."),
    click.option(
        "--master-port",
        type=click.IntRange(1, 65535),
        envvar="MASTER_PORT",
        help="Node 0's port for the meeting: 29500 with several nodes, else one that is free.",
    ),
)
_NODES = (
    click.option("--nnodes", envvar="NNODES", metavar="N|LEAST:MOST", help="Machines; LEAST:MOST may come and go."),
    *_MEETING,
    click.option("--rdzv-id", envvar="RDZV_ID", metavar="ID", help="Meet by torch's c10d rendezvous of this id."),
    click.option(
        "--max-restarts",
        type=click.IntRange(min=0),
        envvar="MAX_RESTARTS",
        help="How often torchrun starts the processes again, from the newest checkpoint, when one is lost.",
    ),
    click.option(
        "--hostfile",
        type=click.Path(path_type=Path),
        help="DeepSpeed's list of hosts, HOST slots=GPUS a line; it reaches them by pdsh and ssh.",
    ),
    click.option("--engine-cli", is_flag=True, help="Start by LLaMA-Factory's own command, llamafactory-cli train."),
    click.option(
        "--job",
        multiple=True,
        metavar="KEY=VALUE",
        help="For slurm an option of sbatch (partition=gpu), for skypilot a resource (accelerators=H100:8).",
    ),
)


def launcher_option(names: tuple[str, ...], text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--launcher`` with these names."""
    return click.option("--launcher", type=click.Choice(names), default="auto", show_default=True, help=text)


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All options of nodes and schedulers, for a new run."""
    for option in reversed(_NODES):
        function = option(function)
    return function


def meeting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that may differ at each start of a run of several nodes."""
    for option in reversed(_MEETING):
        function = option(function)
    return function


def parse_launch(options: Mapping[str, Any], environ: Mapping[str, str]) -> LaunchOptions:
    """The options of a new run.

    Raises:
        UsageError: a number, the hostfile or a ``--job`` is none.
    """
    from lfwrap.run.launch.launch import LaunchOptions
    from lfwrap.run.launch.launchers.nodes import Nodes, load_hostfile, parse_node_count

    hosts = load_hostfile(options["hostfile"]) if options["hostfile"] else ()
    least, count = parse_node_count(options["nnodes"] or _engine_range(environ))
    if hosts:
        least = count = len(hosts)
    address = options["master_addr"] or ""
    nodes = Nodes(
        count=count,
        least=least,
        rank=options["node_rank"] or 0,
        address=address if count > 1 else "127.0.0.1",
        port=options["master_port"],
        rendezvous=options["rdzv_id"] or "",
        max_restarts=options["max_restarts"] or 0,
        hosts=hosts,
    )
    return LaunchOptions(nodes, options["engine_cli"], _parse_job(options["job"]))


def _engine_range(environ: Mapping[str, str]) -> str:
    """The engine's own variables of an elastic run."""
    least, most = environ.get("MIN_NNODES"), environ.get("MAX_NNODES")
    return f"{least}:{most}" if least and most else "1"


def _parse_job(texts: tuple[str, ...]) -> dict[str, str]:
    from lfwrap.errors import UsageError

    for text in texts:
        if "=" not in text.strip("="):
            raise UsageError(f"--job {text}: expected KEY=VALUE.", hint="Such as --job partition=gpu.")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def parse_meeting(options: Mapping[str, Any], kept: Nodes) -> Nodes:
    """The nodes of a run that goes on: as it was started, with this start's rank and place."""
    from dataclasses import replace

    if kept.count == 1 or kept.hosts:
        return kept
    return replace(
        kept,
        rank=options["node_rank"] or 0,
        address=options["master_addr"] or kept.address,
        port=options["master_port"] or kept.port,
    )
