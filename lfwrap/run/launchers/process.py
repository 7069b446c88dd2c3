"""One process: ``llamafactory-cli train engine.yaml``."""

from __future__ import annotations

from lfwrap.run.command import Command
from lfwrap.run.launchers.base import LaunchRequest, common_environment


class ProcessLauncher:
    """The engine's command line in one process."""

    name = "process"
    splits_at_spaces = False

    def build(self, request: LaunchRequest) -> Command:
        """The engine's own command; one device is shown, else the engine would start torchrun by itself."""
        argv = (str(request.engine.cli), "train", str(request.engine_yaml), *request.arguments)
        return Command(argv, request.cwd, common_environment(request) | dict(request.environment))
