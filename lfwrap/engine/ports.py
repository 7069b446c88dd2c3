"""TCP ports for processes that meet each other."""

from __future__ import annotations

import socket

LOCALHOST = "127.0.0.1"
ALL_ADDRESSES = ""


def free_port(host: str = LOCALHOST) -> int:
    """A TCP port of ``host`` that nobody listens on now; a launcher's usual one is often taken on shared hosts."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
