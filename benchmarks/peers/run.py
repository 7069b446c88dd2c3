"""Find peers and run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ahead import end

from .commands import COMMANDS, INSIDE, Job

_PROBE = "import json, timed_trainer; print(json.dumps(timed_trainer.find_versions()))"
_STANDS_ON = {
    "trl": ("torch", "transformers", "peft", "accelerate", "liger_kernel"),
    "unsloth": ("torch", "transformers", "peft", "accelerate", "trl"),
    "torchtune": ("torch", "torchao"),
}
_ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Peer:
    """Another trainer.

    Attributes:
        name: as on PyPI.
        python: the Python that runs it.
        site: a folder that goes before that Python's packages, if any.
        versions: of the peer and of what it stands on; empty until it is found, or where it is not installed.
    """

    name: str
    python: str = sys.executable
    site: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def make_peers(names: list[str], places: Mapping[str, Path], python: str = sys.executable) -> list[Peer]:
    """The peers that were asked for.

    Args:
        names: theirs.
        places: for those that live elsewhere a Python, or a folder of packages.
        python: of all others, and of those with a folder.

    Raises:
        ValueError: a place is given for a peer that is not asked for, or is not there.
    """
    for name, place in places.items():
        if name not in names:
            raise ValueError(f"--peer-python {name}={place}: there is no --peer {name}")
        if not place.exists():
            raise ValueError(f"--peer-python {name}={place}: there is no such file or folder")
    peers = []
    for name in names:
        place = places.get(name)
        if place is None:
            peers.append(Peer(name, python))
        elif place.is_dir():
            peers.append(Peer(name, python, place.absolute()))
        else:
            peers.append(Peer(name, str(place.absolute())))  # not resolved: a venv's Python is a link
    return peers


def find_peer(peer: Peer) -> Peer:
    """The peer with its versions, where it is installed."""
    done = subprocess.run(
        [peer.python, "-c", _PROBE], capture_output=True, text=True, env=_environment(peer), check=False
    )
    if done.returncode:
        return peer
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    if peer.name not in found:
        return peer
    return replace(peer, versions={name: found[name] for name in (peer.name, *_STANDS_ON[peer.name]) if name in found})


def run_peer(peer: Peer, job: Job, timeout_s: float) -> dict[str, Any]:
    """Train; what `engine_worker.py` would find, with a status: ``ok``, ``oom``, ``failed`` or ``timeout``."""
    job.scratch.mkdir(parents=True, exist_ok=True)
    job.result.unlink(missing_ok=True)
    try:
        command = [peer.python, *COMMANDS[peer.name](job)]
    except ValueError as error:
        return {"status": "failed", "error": str(error)}
    log = job.scratch / "log.txt"
    status = _run(command, {**_environment(peer), "HF_DATASETS_CACHE": str(job.scratch / "datasets")}, log, timeout_s)
    if job.result.exists():
        found: dict[str, Any] = json.loads(job.result.read_text(encoding="utf-8"))
        return {**found, "versions": dict(peer.versions)}
    return {"status": status, "error": _last_error(log)}


def _run(command: list[str], environment: Mapping[str, str], log: Path, timeout_s: float) -> str:
    with log.open("w", encoding="utf-8") as sink:
        child = subprocess.Popen(
            command, stdout=sink, stderr=sink, env=environment, cwd=log.parent, start_new_session=True
        )
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        end(child)
        return "timeout"
    return "oom" if "out of memory" in log.read_text(errors="replace").lower() else "failed"


def _environment(peer: Peer) -> dict[str, str]:
    """One GPU: Trainer would spread a batch over all that it sees."""
    paths = [str(INSIDE), *([str(peer.site)] if peer.site else []), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "PYTHONUTF8": "1",
        "UNSLOTH_DISABLE_STATISTICS": "1",
    }


def _last_error(log: Path) -> str:
    """The last line that names an error, else the last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]
    return (named or lines or ["it said nothing"])[-1][:_ERROR_CHARACTERS]
