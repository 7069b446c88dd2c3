"""The interface of launchers (a request in, a command out), and the simplest one: a single process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lfwrap.engine.arguments import worker_argv
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.nodes import DEFAULT_PORT, Nodes

# `lfwrap train --help` names the launchers: what only their work needs is imported there.
if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.run.folder.paths import RunPaths


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One start of the engine.

    Attributes:
        engine: the engine to start.
        paths: the run.
        cwd: the working directory; relative paths in the recipe count from there.
        world_size: processes on all nodes together.
        port: a free TCP port for their meeting, where the nodes name none.
        nodes: the machines.
        on_gpu: whether they train on CUDA devices.
        devices: the CUDA devices to show them, as ``CUDA_VISIBLE_DEVICES`` has it; None leaves it as it is.
        arguments: ``key=value`` arguments after the YAML.
        environment: the variables that are added, whatever the launcher.
        by_engine: start by the engine's own command, ``llamafactory-cli train``.
        options: the options of a scheduler (``--job KEY=VALUE``).
        lfwrap: the command that starts lfwrap on another machine.
        uploads: keys of the recipe that name a folder here, for a machine that has none of them.
    """

    engine: Engine
    paths: RunPaths
    cwd: Path
    world_size: int = 1
    port: int = DEFAULT_PORT
    nodes: Nodes = field(default_factory=Nodes)
    on_gpu: bool = False
    devices: str | None = None
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    by_engine: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    lfwrap: tuple[str, ...] = ("lfwrap",)
    uploads: Mapping[str, Path] = field(default_factory=dict)

    @property
    def node_processes(self) -> int:
        """Processes on this machine; all nodes have as many."""
        return max(1, self.world_size // self.nodes.count)

    @property
    def meeting_port(self) -> int:
        """The port of the meeting: the given one; with several nodes the usual one, on one node a free one."""
        return self.nodes.port or (DEFAULT_PORT if self.nodes.count > 1 else self.port)


class Launcher(Protocol):
    """A way to start the engine."""

    @property
    def name(self) -> str:
        """As ``--launcher`` spells it."""

    @property
    def splits_at_spaces(self) -> bool:
        """Whether the command, or the engine's own way to the same end, breaks on paths with white space."""

    @property
    def is_scheduler(self) -> bool:
        """Whether the command hands the run over to a scheduler, which starts lfwrap elsewhere and later."""

    @property
    def reaches_nodes(self) -> bool:
        """Whether one command starts the processes of all nodes; otherwise lfwrap is started on each."""

    @property
    def starts_several(self) -> bool:
        """Whether it starts processes that train together, even if it is only one of them."""

    @property
    def package(self) -> str | None:
        """The package that the engine's Python needs for it."""

    def build(self, request: LaunchRequest) -> Command:
        """The command for a request; pure but for the template that it renders.

        Raises:
            UsageError: the launcher can't do that.
        """


def launch_facts(request: LaunchRequest) -> dict[str, Any]:
    """What another node needs to start its part of the same attempt; kept in ``command.json``."""
    place = {"address": request.nodes.address, "port": request.meeting_port}
    return {"meeting": request.nodes.meeting, **place, "arguments": list(request.arguments)}


def training_command(request: LaunchRequest) -> tuple[str, ...]:
    """The script, the YAML and what replaces values of it."""
    return (*worker_argv("train_engine"), str(request.paths.engine_yaml), *request.arguments)


class ProcessLauncher:
    """``python lfwrap/worker train_engine engine.yaml``; by the engine: ``llamafactory-cli train engine.yaml``."""

    name = "process"
    splits_at_spaces = False
    is_scheduler = False
    reaches_nodes = False
    starts_several = False
    package = None

    def build(self, request: LaunchRequest) -> Command:
        """The training script in the engine's Python; one device is shown, as the engine refuses to see more alone."""
        if request.by_engine:
            argv = (str(request.engine.cli), "train", str(request.paths.engine_yaml), *request.arguments)
        else:
            argv = (str(request.engine.python), *training_command(request))
        return Command(argv, request.cwd, request.environment)
