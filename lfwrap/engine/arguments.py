"""What command lines of the engine's processes are made of: the workers by their names, and free TCP ports."""

from __future__ import annotations

import socket
from pathlib import Path

from lfwrap.engine.contract import Worker

LOCALHOST = "127.0.0.1"
ALL_ADDRESSES = ""

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


def free_port(host: str = LOCALHOST) -> int:
    """A TCP port of ``host`` that nobody listens on now; a launcher's usual one is often taken on shared hosts."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
