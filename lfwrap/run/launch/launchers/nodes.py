"""The machines that train together, and how they meet."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lfwrap.errors import Finding, UsageError

DEFAULT_PORT = 29500
DEFAULT_RENDEZVOUS = "lfwrap"
_RANGE = re.compile(r"^(\d+)(?::(\d+))?$")
_HOST_LINE = re.compile(r"^(\S+)\s+slots=(\d+)\s*(?:#.*)?$")


@dataclass(frozen=True, slots=True)
class Host:
    """One line of a DeepSpeed hostfile.

    Attributes:
        name: the host, as ssh takes it.
        slots: processes to start there, one a GPU.
    """

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class Nodes:
    """The machines of a run, seen from one of them.

    Attributes:
        count: how many there are; of an elastic run the most.
        least: the fewest that an elastic run goes on with; equal to ``count`` when it is not elastic.
        rank: which of them this is; node 0 makes the run's folder and writes its record.
        address: where node 0 is reached.
        port: its TCP port for the meeting; None where one is looked for.
        rendezvous: the id of a c10d meeting, where one was given.
        max_restarts: how often torchrun starts the processes again when one of them, or a node, is lost.
        hosts: the lines of a hostfile, by which DeepSpeed's launcher reaches the nodes; this is the only lfwrap then.
    """

    count: int = 1
    least: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int | None = None
    rendezvous: str = ""
    max_restarts: int = 0
    hosts: tuple[Host, ...] = ()

    @property
    def is_elastic(self) -> bool:
        """Whether the processes may be fewer after a restart."""
        return self.least < self.count

    @property
    def is_rendezvous(self) -> bool:
        """Whether the processes meet by torch's c10d rendezvous.

        Started again after the static one, torch 2.9's processes look for each other at the places of the first start.
        """
        return bool(self.rendezvous) or self.is_elastic or self.max_restarts > 0

    @property
    def meeting(self) -> str:
        """What all nodes of one start agree on, by which the others find node 0's run."""
        place = f"{self.address}:{self.port or DEFAULT_PORT}"
        return f"{self.rendezvous or DEFAULT_RENDEZVOUS}@{place}" if self.is_rendezvous else place

    def counts(self) -> range:
        """Every number of nodes that the run may have."""
        return range(self.least, self.count + 1)

    def to_json(self) -> dict[str, Any]:
        """The nodes as the run's files keep them."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Nodes:
        """The nodes as `to_json` wrote them.

        Raises:
            KeyError, TypeError: it is no such value.
        """
        return cls(**{**value, "hosts": tuple(Host(**host) for host in value["hosts"])})


def parse_node_count(text: str) -> tuple[int, int]:
    """The fewest and the most nodes that ``--nnodes`` names: a number, or two with a colon.

    Raises:
        UsageError: it is neither.

    >>> parse_node_count("4"), parse_node_count("2:4")
    ((4, 4), (2, 4))
    """
    found = _RANGE.match(text.strip())
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise UsageError(
            f"--nnodes {text}: not a number of nodes.", hint="Give a number from 1, or LEAST:MOST such as 2:4."
        )
    return least, most


def load_hostfile(path: Path) -> tuple[Host, ...]:
    """The hosts of a DeepSpeed hostfile: ``NAME slots=N`` a line, ``#`` for comments.

    Raises:
        UsageError: it can't be read, or holds other lines, a host twice or no slots; all findings at once.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--hostfile {path}: can't be read: {error}", hint="Give a DeepSpeed hostfile.") from error
    hosts: dict[str, Host] = {}
    findings = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _HOST_LINE.match(text)
        problem = _host_problem(text, found, hosts)
        if problem or not found:
            findings.append(Finding("hostfile", problem, file=str(path), line=number))
        else:
            hosts[found[1]] = Host(found[1], int(found[2]))
    if not hosts and not findings:
        findings.append(Finding("hostfile", "names no host.", file=str(path)))
    if findings:
        raise UsageError(
            f"--hostfile {path}: not in DeepSpeed's format.",
            hint="One host a line: NAME slots=GPUS, such as node-1 slots=8.",
            findings=tuple(findings),
        )
    return tuple(hosts.values())


def _host_problem(text: str, found: re.Match[str] | None, hosts: dict[str, Host]) -> str:
    if found is None:
        return f"{text!r}: expected NAME slots=N."
    if int(found[2]) < 1:
        return f"{found[1]}: has no slots."
    return f"{found[1]}: is named twice." if found[1] in hosts else ""
