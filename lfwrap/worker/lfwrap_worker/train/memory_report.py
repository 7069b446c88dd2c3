"""What a training took of the GPU's memory, for `lfwrap plan --calibrate`: written after three updates and at the end.

Used by `train_engine`, and written in every rank that lfwrap keeps a folder for.
"""

import time
from collections.abc import Callable
from typing import Any

from lfwrap_worker.contract import MemoryUse

_FIRST_UPDATES = 3


def make_memory_callback(report: Callable[[MemoryUse], None]) -> Any:
    """A trainer callback that reports peaks and the time of an update; on a CPU, which counts no memory, nothing."""
    import torch
    from transformers import TrainerCallback

    class ReportMemory(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Reads the allocator's own counters; nothing is waited for."""

        def __init__(self) -> None:
            self._began_s = 0.0
            self._first = 0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            """The clock starts with the second update: the first one warms up."""
            if not self._began_s and state.global_step >= 1:
                self._began_s, self._first = time.monotonic(), state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            """Once, early: a run that is stopped has been measured, too."""
            if state.global_step == _FIRST_UPDATES:
                self._report(state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            """The figures of the whole training."""
            self._report(state.global_step)

        def _report(self, update: int) -> None:
            if not torch.cuda.is_available():
                return
            free, total = torch.cuda.mem_get_info()
            timed = update - self._first
            elapsed_s = time.monotonic() - self._began_s
            report(
                {
                    "update": update,
                    "update_s": round(elapsed_s / timed, 4) if self._began_s and timed > 0 else None,
                    "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
                    "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
                    "outside_bytes": total - free - torch.cuda.memory_reserved(),
                    "device_bytes": total,
                    "device": torch.cuda.get_device_name(),
                }
            )

    return ReportMemory()
