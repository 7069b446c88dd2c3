"""What an update says of the training's health, for lfwrap: loss, norm of the gradients, memory, utilisation.

Written in every rank that lfwrap keeps a folder for; the first rank alone says what holds for all of them. Nothing is
computed for it and nothing waited for: the trainer has the figures at that moment, torch counts its memory anyhow.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_LOAD_EVERY_S = 1.0
_KEYS = ("loss", "eval_loss", "grad_norm", "learning_rate")


def make_health_callback(report: Callable[[Mapping[str, Any]], None], *, is_first: bool) -> Any:
    """A trainer callback that reports each entry of the trainer's log.

    Args:
        report: receives plain values; what is no finite number comes as text.
        is_first: whether this is the rank that speaks for all.
    """
    from transformers import TrainerCallback

    class ReportHealth(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Passes on what the trainer logs."""

        def __init__(self) -> None:
            self._load = Load()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            """Called by all ranks at the same updates."""
            found: dict[str, Any] = {"step": state.global_step, "total_steps": state.max_steps}
            if is_first and isinstance(logs, dict):
                found |= {key: plain(logs[key]) for key in _KEYS if key in logs}
                found["epoch"] = plain(state.epoch)
            found |= self._load.read()
            report({key: value for key, value in found.items() if value is not None})

    return ReportHealth()


def plain(value: Any) -> Any:
    """A number as JSON has it, or ``nan``, ``inf`` and ``-inf`` as text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else str(number)


class Load:
    """Memory and utilisation of this process, at most once a second."""

    def __init__(self) -> None:
        """Start the clocks."""
        self._read_s = float("-inf")
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()
        self._has_meter = True

    def read(self) -> dict[str, Any]:
        """The figures of this moment; nothing when the last ones are younger than a second."""
        import torch

        now_s = time.monotonic()
        if now_s - self._read_s < _LOAD_EVERY_S:
            return {}
        self._read_s = now_s
        cpu_s = time.process_time()
        elapsed_s = max(now_s - self._wall_s, 1e-9)
        found: dict[str, Any] = {"cpu_cores": round((cpu_s - self._cpu_s) / elapsed_s, 2), "rss_bytes": resident()}
        self._wall_s, self._cpu_s = now_s, cpu_s
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["memory_bytes"] = torch.cuda.memory_allocated()
            found["reserved_bytes"] = torch.cuda.memory_reserved()
            found["busy_percent"] = self._utilisation(torch)
        return found

    def _utilisation(self, torch: Any) -> float | None:
        """By NVML, where its Python package is there; asked no more once it has failed."""
        if self._has_meter:
            try:
                return float(torch.cuda.utilization())
            except Exception:  # noqa: BLE001 - a driver, a package or a permission is missing: there is no figure
                self._has_meter = False
        return None


def resident() -> int | None:
    """Bytes of main memory that this process takes; None where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None
