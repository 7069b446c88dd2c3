"""Train as ``llamafactory-cli train`` does, and stop well on SIGTERM: ``train_engine ENGINE_YAML [KEY=VALUE]...``.

The trainer's ``enable_jit_checkpoint`` saves before the running update is done: a resumed run repeats that update with
other dropout masks, and ranks that see their signals in different updates wait for each other forever. Here all ranks
agree at the end of each update, and the trainer saves an ordinary checkpoint: a resumed run has the very same curve.
Runs in the engine's Python, in every rank. Beside that it tries the longest batch early (`longest_batch`) and
leaves logs, heartbeats and errors of each rank (`rank_files`) when lfwrap has asked for them, and compiles layers
one by one (`compiled_layers`) where the trainer would compile the model.
"""

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lfwrap_worker.contract import (
    DEEPSPEED_ON_CPU_VARIABLE,
    NO_PROBE_VARIABLE,
    RANK_HEALTH,
    RANK_MEMORY,
    RANK_PROBE,
    SPEED_MAX,
    SPEED_VARIABLE,
    SWANLAB_VARIABLE,
)
from lfwrap_worker.train import (
    compiled_layers,
    health_report,
    longest_batch,
    memory_report,
    rank_files,
    restart,
    swanlab_start,
    warm_kernels,
)


class StopRequest:
    """Whether a SIGTERM to any rank, or somebody else, has asked the training to stop."""

    def __init__(self, is_asked: Callable[[], bool]) -> None:
        """``is_asked``: another source of the request than a signal to this process."""
        self._is_asked = is_asked
        self._signalled = False
        self._pid = 0

    def listen(self) -> None:
        """Take a SIGTERM for a request from now on; before, it just ends the process, as there is nothing to save."""
        self._pid = os.getpid()
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        if os.getpid() != self._pid:  # a loader's worker, which has the handler from the fork
            os._exit(128 + number)
        self._signalled = True

    def is_agreed(self, device: Any) -> bool:
        """Whether any rank knows of the request; called by all ranks at the end of the same update."""
        from torch import distributed, tensor

        is_asked = self._signalled or self._is_asked()
        if not (distributed.is_available() and distributed.is_initialized()):
            return is_asked
        asked = tensor(int(is_asked), device=device)
        distributed.all_reduce(asked, op=distributed.ReduceOp.MAX)
        return bool(asked.item())


def make_stop_callback(is_asked: Callable[[], bool] = lambda: False) -> Any:
    """A trainer callback that turns a SIGTERM, or another request, into a checkpoint at the end of an update."""
    from transformers import TrainerCallback
    from transformers.utils import logging

    logger = logging.get_logger("lfwrap.worker.train_engine")
    request = StopRequest(is_asked)

    class StopOnTerminate(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Asked on any rank, all ranks stop at the same update."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Listen for SIGTERM while there is something to save."""
            request.listen()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Agree, then save and stop."""
            if request.is_agreed(args.device):
                logger.info("SIGTERM received: saving a checkpoint at step %d", state.global_step)
                control.should_save = True
                control.should_training_stop = True

        def on_train_end(self, *_: Any, **__: Any) -> None:
            """What is left to do is to save the result: let nothing but force stop that."""
            request.listen()

    return StopOnTerminate()


def make_heartbeat_callback(folder: rank_files.RankFolder) -> Any:
    """A trainer callback that says after each micro-batch, also of an evaluation, that this rank is alive."""
    from transformers import TrainerCallback

    class Heartbeat(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Beats whenever the trainer gets anywhere."""

        def _beat(self, *_: Any, **__: Any) -> None:
            folder.beat()

        on_step_begin = on_substep_end = on_step_end = on_prediction_step = on_save = on_evaluate = _beat

    return Heartbeat()


def read_cpu_checkpoints() -> None:
    """Let ranks on a CPU read their checkpoints: the trainer asks for device ``cpu:0``, torch knows only ``cpu``."""
    from torch import serialization

    def restore(storage: Any, location: str) -> Any:
        """A storage that was saved from a numbered CPU stays on the CPU; None leaves others to torch."""
        return storage if location.startswith("cpu:") else None

    serialization.register_package(5, lambda _: None, restore)


def train_rank(train: Callable[[list[Any]], None], is_asked: Callable[[], bool] = lambda: False) -> None:
    """Train in this process, with its own folder of logs and the callbacks that lfwrap needs.

    Args:
        train: the engine's training, given the callbacks.
        is_asked: whether somebody wants the training to stop; asked after each update.
    """
    folder = rank_files.open_rank_folder()
    try:
        read_cpu_checkpoints()
        meet_by_deepspeed()
        let_swanlab_start()
        callbacks = [make_stop_callback(is_asked)]
        if compiled_layers.is_wanted():
            callbacks.append(compiled_layers.install())
        if folder is not None:
            callbacks.append(make_heartbeat_callback(folder))
            callbacks.append(memory_report.make_memory_callback(lambda found: folder.write_json(RANK_MEMORY, found)))
            callbacks.append(
                health_report.make_health_callback(
                    lambda found: folder.add_line(RANK_HEALTH, found), is_first=os.environ.get("RANK", "0") == "0"
                )
            )
            if not os.environ.get(NO_PROBE_VARIABLE):
                longest_batch.install_probe(lambda found: folder.write_json(RANK_PROBE, found))
        train(callbacks)
    except Exception as error:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to save: a launcher's SIGTERM may end it
        if folder is not None:
            folder.end(error)
        raise
    if folder is not None:
        folder.end()


def meet_by_deepspeed() -> None:
    """Let DeepSpeed know the processes on a CPU: accelerate leaves that out with ``use_cpu``, and ZeRO-3 counts one.

    They meet by gloo alone. DeepSpeed's own collective through shared memory would be compiled first, half a minute
    with the compiler that it needs, and again whenever another version of ninja comes first on the PATH.
    """
    if os.environ.get(DEEPSPEED_ON_CPU_VARIABLE) and "RANK" in os.environ:
        import deepspeed

        # By its full name: as an attribute of its package, "torch" is torch itself.
        importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None  # type: ignore[attr-defined]
        deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)


def let_swanlab_start() -> None:
    """Where the run is reported to SwanLab, keep its callback from failing at the start."""
    if os.environ.get(SWANLAB_VARIABLE) and importlib.util.find_spec("swanlab"):  # "all" takes what is there
        swanlab_start.allow_no_run(importlib.import_module("swanlab"))


def train_here(callbacks: list[Any]) -> None:
    """The engine's training as its own command runs it; the engine reads the arguments itself."""
    from llamafactory.train.tuner import run_exp

    extend_engine()
    run_exp(callbacks=[*callbacks, *warm_up(read_values(Path(sys.argv[1])))])


def read_values(path: Path) -> dict[str, Any]:
    """The engine's values in its YAML."""
    import yaml

    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def warm_up(values: Mapping[str, Any]) -> list[Any]:
    """Have kernels compiled beside the loading; the callback that waits for them, where there is something to do."""
    if os.environ.get(SPEED_VARIABLE) == SPEED_MAX:  # all rows of a micro-batch lie one behind the other
        values = {**values, "per_device_train_batch_size": 1}
    device = int(os.environ.get("LOCAL_RANK", "0"))
    made = warm_kernels.make_callback(values, device, within_layers=not compiled_layers.is_wanted())
    return [] if made is None else [made]


def extend_engine() -> None:
    """Let the engine load its models with the extension, where ``speed: max`` asks for it."""
    if os.environ.get(SPEED_VARIABLE) == SPEED_MAX:
        from lfwrap_worker import speed

        speed.apply()


def main() -> None:
    """Train in this process, which may be one of several that torchrun has started again."""
    restart.adapt_arguments(sys.argv, os.environ)
    if compiled_layers.is_wanted():
        sys.argv.append(compiled_layers.ENGINE_OVERRIDE)
    train_rank(train_here)
