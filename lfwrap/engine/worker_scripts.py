"""Where the workers lie that run in the engine's own Python, and how one of them is named on a command line."""

from __future__ import annotations

from pathlib import Path

from lfwrap.engine.contract import Worker

FOLDER = Path(__file__).resolve().parents[1] / "worker"
_PACKAGE = FOLDER / "lfwrap_worker"
EXTENSION_FOLDER = _PACKAGE / "speed"
LOG_FILTER = _PACKAGE / "train" / "log_filter.py"


def worker_argv(name: Worker) -> tuple[str, ...]:
    """What follows the interpreter on the command line of a worker, before the worker's own arguments.

    Args:
        name: the worker, such as ``merge_adapter``.
    """
    return (str(FOLDER), name)
