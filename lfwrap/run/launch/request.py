"""From a decided start of a training to the command that a launcher makes of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.debug import note
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.keys import MODEL_KEY
from lfwrap.engine.locate import Engine
from lfwrap.engine.ports import ALL_ADDRESSES, free_port
from lfwrap.invocation import Invocation
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launch import TrainingStart
from lfwrap.run.launch.launchers.base import LaunchRequest
from lfwrap.run.launch.training_environment import training_environment

_NO_ENGINE = Engine(Path("python"), Path("llamafactory-cli"), Path("llamafactory"), SUPPORTED_VERSION)


def build_command(start: TrainingStart, invocation: Invocation) -> Command:
    """The command that starts a training, with what it adds to the environment.

    Args:
        start: what is started.
        invocation: the folder that relative paths count from, and lfwrap's environment.

    Raises:
        UsageError: the launcher can't do that.
    """
    launcher, nodes = start.launcher, start.options.nodes
    note("strategy", "launcher %s: %s processes on %s nodes", launcher.name, start.world_size, nodes.count)
    return launcher.build(launch_request(start, invocation))


def launch_request(start: TrainingStart, invocation: Invocation) -> LaunchRequest:
    """What a launcher is asked for; without an engine, names stand for its programs."""
    return LaunchRequest(
        engine=start.engine or _NO_ENGINE,
        paths=start.paths,
        cwd=invocation.cwd,
        world_size=start.world_size,
        port=free_port(ALL_ADDRESSES),
        nodes=start.options.nodes,
        on_gpu=start.on_gpu,
        devices=start.devices(invocation.environ),
        arguments=start.arguments,
        environment=training_environment(start, invocation.environ),
        by_engine=start.options.by_engine,
        options=start.options.job,
        lfwrap=(sys.executable, "-m", "lfwrap"),
        uploads=_folders(start.values, invocation.cwd),
    )


def _folders(values: Mapping[str, Any], cwd: Path) -> dict[str, Path]:
    """The folders that the values name, by key; they are on this machine only."""
    found = {key: cwd / Path(str(values[key])).expanduser() for key in ("dataset_dir", MODEL_KEY) if values.get(key)}
    return {key: path.resolve() for key, path in found.items() if path.is_dir()}
