"""Which process a number meant: a pid alone is reused, a pid with its start time and the boot is not."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CLOCK_SLACK_S = 2.0  # a system's boot time is derived from its wall clock, which may be set while it runs


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of one machine.

    Attributes:
        pid: its number.
        started_s: when it started, seconds since 1970.
        boot: the boot of the machine, a UUID on Linux.
        host: the machine's name; on another machine nothing can be said about the process.
    """

    pid: int
    started_s: float
    boot: str
    host: str

    def is_alive(self) -> bool:
        """Whether this very process still runs; one on another machine is taken to."""
        import psutil

        if self.host != _host():
            return True
        if self.boot != boot_id():
            return False
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_s) < _CLOCK_SLACK_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ProcessIdentity:
        """The identity as ``dataclasses.asdict`` wrote it."""
        return cls(int(value["pid"]), float(value["started_s"]), str(value["boot"]), str(value["host"]))


def probe_process(pid: int | None = None) -> ProcessIdentity:
    """The identity of a living process, by default our own.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    import psutil

    number = os.getpid() if pid is None else pid
    return ProcessIdentity(number, psutil.Process(number).create_time(), boot_id(), _host())


def boot_id() -> str:
    """What tells this boot of the machine from others: the kernel's UUID, else the minute of the boot."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        import psutil

        return time.strftime("%Y-%m-%dT%H:%M", time.gmtime(psutil.boot_time()))


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
