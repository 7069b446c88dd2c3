"""Several processes by DeepSpeed's launcher."""

from __future__ import annotations

from lfwrap.run.command import Command
from lfwrap.run.launchers.base import TRAIN_SCRIPT, LaunchRequest, distributed_environment


class DeepspeedLauncher:
    """``deepspeed --no_local_rank --num_gpus N train_engine.py engine.yaml``.

    Without ``--no_local_rank`` the launcher puts an argument before the YAML, and the engine never reads the YAML.
    """

    name = "deepspeed"
    splits_at_spaces = True

    def build(self, request: LaunchRequest) -> Command:
        """The launcher; a choice of devices goes by ``--include``, which it wants instead of the variable."""
        argv = (
            str(request.engine.python),
            *("-m", "deepspeed.launcher.runner", "--no_local_rank"),
            *self._devices(request),
            *("--master_addr", "127.0.0.1", "--master_port", str(request.port)),
            str(TRAIN_SCRIPT),
            str(request.engine_yaml),
            *request.arguments,
        )
        environment = distributed_environment(request)
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        return Command(argv, request.cwd, environment)

    @staticmethod
    def _devices(request: LaunchRequest) -> tuple[str, ...]:
        if request.devices and request.on_gpu:
            return ("--include", f"localhost:{request.devices}")
        return ("--num_gpus", str(request.world_size))
