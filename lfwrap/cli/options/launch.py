"""The options of `train` and `runs resume` that say how and where the processes are started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import OptionGroup

if TYPE_CHECKING:
    from lfwrap.run.launch.launch import LaunchOptions
    from lfwrap.run.launch.launchers.nodes import Nodes

    _Choice = click.Choice[str]
else:
    _Choice = click.Choice  # generic in newer versions only


@dataclass(frozen=True, slots=True)
class MeetingArgs:
    """How the nodes of a run find each other; it may differ at each start.

    Attributes:
        node_rank: which node this is; node 0 where it isn't said.
        master_addr: where node 0 is reached.
        master_port: node 0's port.
    """

    node_rank: int | None
    master_addr: str | None
    master_port: int | None

    def nodes(self, kept: Nodes) -> Nodes:
        """The nodes of a run that goes on: as it was started, with this start's rank and meeting place."""
        from dataclasses import replace

        if kept.count == 1 or kept.hosts:
            return kept
        return replace(
            kept,
            rank=self.node_rank or 0,
            address=self.master_addr or kept.address,
            port=self.master_port or kept.port,
        )


@dataclass(frozen=True, slots=True)
class NodeArgs:
    """The nodes of a new run, and the options of its scheduler.

    Attributes:
        nnodes: how many nodes, as typed.
        meeting: how they find each other.
        rdzv_id: the id of torch's c10d rendezvous.
        max_restarts: how often torchrun starts lost processes again.
        hostfile: DeepSpeed's list of hosts.
        engine_cli: start by the engine's own command.
        job: ``KEY=VALUE`` texts for the scheduler.
    """

    nnodes: str | None
    meeting: MeetingArgs
    rdzv_id: str | None
    max_restarts: int | None
    hostfile: Path | None
    engine_cli: bool
    job: tuple[str, ...]

    def launch_options(self, environ: Mapping[str, str]) -> LaunchOptions:
        """The options of a new run.

        Raises:
            UsageError: the number of nodes, the hostfile or a ``--job`` can't be read.
        """
        from lfwrap.run.launch.launch import LaunchOptions
        from lfwrap.run.launch.launchers.nodes import Nodes, load_hostfile, parse_node_count

        hosts = load_hostfile(self.hostfile) if self.hostfile else ()
        least, count = parse_node_count(self.nnodes or _engine_range(environ))
        if hosts:
            least = count = len(hosts)
        nodes = Nodes(
            count=count,
            least=least,
            rank=self.meeting.node_rank or 0,
            address=self.meeting.master_addr or "" if count > 1 else "127.0.0.1",
            port=self.meeting.master_port,
            rendezvous=self.rdzv_id or "",
            max_restarts=self.max_restarts or 0,
            hosts=hosts,
        )
        return LaunchOptions(nodes, self.engine_cli, _parse_job(self.job))


def _engine_range(environ: Mapping[str, str]) -> str:
    """The number of nodes by the engine's own variables of an elastic run; one without them."""
    least, most = environ.get("MIN_NNODES"), environ.get("MAX_NNODES")
    return f"{least}:{most}" if least and most else "1"


def _parse_job(texts: tuple[str, ...]) -> dict[str, str]:
    from lfwrap.errors import UsageError

    for text in texts:
        if "=" not in text.strip("="):
            raise UsageError(f"--job {text}: expected KEY=VALUE.", hint="For example --job partition=gpu.")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


class LauncherName(_Choice):
    """``auto`` or a launcher's name. The names are looked up when one is read or all are shown."""

    def __init__(self, *, with_schedulers: bool) -> None:
        """Take the launchers that start processes here, and with ``with_schedulers`` the schedulers, too."""
        self._with_schedulers = with_schedulers
        self.case_sensitive = True

    def __getattr__(self, name: str) -> Any:
        """The choices, when they are first looked at: the names in the order of `LAUNCHERS`."""
        if name != "choices":
            raise AttributeError(name)
        from lfwrap.run.launch.launchers.registry import LAUNCHERS

        names = (name for name in LAUNCHERS if self._with_schedulers or not LAUNCHERS[name].is_scheduler)
        self.choices = ("auto", *names)
        return self.choices


def launcher_option(text: str, *, with_schedulers: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--launcher`` with the names of the launchers."""
    names = LauncherName(with_schedulers=with_schedulers)
    return click.option("--launcher", type=names, default="auto", show_default=True, help=text)


_MEETING = (
    click.option(
        "--node-rank",
        type=click.IntRange(min=0),
        envvar="NODE_RANK",
        help="Which node this is, from 0; node 0 makes the run's folder and writes its record.",
    ),
    click.option("--master-addr", envvar="MASTER_ADDR", metavar="HOST", help="The address at which node 0 is reached."),
    click.option(
        "--master-port",
        type=click.IntRange(1, 65535),
        envvar="MASTER_PORT",
        help="Node 0's port, at which the nodes meet: 29500 with several nodes, else any free one.",
    ),
)
meeting_options = OptionGroup(*_MEETING)
"""The options that may differ at each start of a run of several nodes: `MeetingArgs`."""

node_options = OptionGroup(
    click.option(
        "--nnodes",
        envvar="NNODES",
        metavar="N|LEAST:MOST",
        help="Number of machines; with LEAST:MOST, machines may leave and join.",
    ),
    *_MEETING,
    click.option("--rdzv-id", envvar="RDZV_ID", metavar="ID", help="Meet by torch's c10d rendezvous with this id."),
    click.option(
        "--max-restarts",
        type=click.IntRange(min=0),
        envvar="MAX_RESTARTS",
        help="How often torchrun starts the processes again, from the newest checkpoint, when one is lost.",
    ),
    click.option(
        "--hostfile",
        type=click.Path(path_type=Path),
        help="DeepSpeed's list of hosts, one `HOST slots=GPUS` a line; it reaches them by pdsh and ssh.",
    ),
    click.option("--engine-cli", is_flag=True, help="Start with LLaMA-Factory's own command, llamafactory-cli train."),
    click.option(
        "--job",
        multiple=True,
        metavar="KEY=VALUE",
        help="For slurm an option of sbatch (partition=gpu), for skypilot a resource (accelerators=H100:8).",
    ),
)
"""All options of nodes and schedulers, for a new run: `NodeArgs`."""
