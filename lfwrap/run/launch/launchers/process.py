"""One process: the engine's training in its own Python, or by its own command."""

from __future__ import annotations

from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import LaunchRequest, training_command


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
