"""One process, as ``llamafactory-cli train engine.yaml`` would be."""

from __future__ import annotations

from lfwrap.run.command import Command
from lfwrap.run.launchers.base import TRAIN_SCRIPT, LaunchRequest, common_environment


class ProcessLauncher:
    """``python train_engine.py engine.yaml``."""

    name = "process"
    splits_at_spaces = False

    def build(self, request: LaunchRequest) -> Command:
        """The training script in the engine's Python; one device is shown, as the engine refuses to see more alone."""
        argv = (str(request.engine.python), str(TRAIN_SCRIPT), str(request.engine_yaml), *request.arguments)
        return Command(argv, request.cwd, common_environment(request))
