"""Train cases one after another on one GPU in processes that have imported the engine before it is their turn.

Importing takes 15-20 s on a GPU host: while one case trains, the next process imports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WORKER = Path(__file__).resolve().parent / "engine_worker.py"
_LOG_CHARACTERS = 1500
# What a measurement has no use for: saving, plotting, stopping well.
_LEFT_OUT = ("enable_jit_checkpoint", "plot_loss", "run_name", "save_steps", "save_total_limit")
_OWN_VARIABLES = ("LFWRAP_RUN", "CUDA_VISIBLE_DEVICES")  # the run's folder and GPU; here the runner decides


@dataclass(frozen=True, slots=True)
class Case:
    """A training to be measured.

    Attributes:
        name: unlike those of all others.
        values: the engine's.
        environment: variables that lfwrap sets for it.
        speed: ``max`` for lfwrap's extension.
        limit_bytes: what torch may take of the GPU; None for all of it.
        longest: whether every second micro-batch is the longest.
        facts: whatever belongs into the result.
        effective_batch_size: rows or, where they are packed, packs of an update.
    """

    name: str
    values: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    speed: str | None = None
    limit_bytes: int | None = None
    longest: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    effective_batch_size: int = 1


def render_case(name: str, arguments: Sequence[str], **more: Any) -> Case:
    """What ``lfwrap train ARGUMENTS`` would run.

    Args:
        name: the case's.
        arguments: recipe, values and options.
        more: further attributes of the case.

    Raises:
        ValueError: lfwrap refuses; with its message.
    """
    command = [sys.executable, "-m", "lfwrap", "train", *arguments, "--dry-run", "--json", "--no-lock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        said = {"error": {"message": done.stderr[-_LOG_CHARACTERS:]}}
    if "engine" not in said:
        raise ValueError(f"{name}: {said['error']['message']}")
    environment = {key: value for key, value in said["command"]["environment"].items() if key not in _OWN_VARIABLES}
    speed = environment.pop("LFWRAP_SPEED", None)
    values = {key: value for key, value in said["engine"].items() if key not in _LEFT_OUT}
    values |= {"save_strategy": "no", "report_to": "none"}
    return Case(name, values, environment, speed, effective_batch_size=said["effective_batch_size"] or 1, **more)


class Runner:
    """The processes of one GPU: one that trains, others that import ahead."""

    def __init__(self, scratch: Path, gpu: str | None = None, *, ahead: int = 1, python: str = sys.executable) -> None:
        """Start importing.

        Args:
            scratch: a folder for what comes and goes.
            gpu: its number; None for the one that is visible, or the CPU.
            ahead: processes that import while one trains; each takes about 0.5 GiB of the GPU.
            python: the engine's.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        self._scratch, self._python, self._ahead = scratch, python, ahead
        own = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(scratch / "datasets")}
        self._environment = {**os.environ, **own, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
        self._waiting: list[subprocess.Popen[str]] = []
        self.prepare()

    def prepare(self, most: int | None = None) -> None:
        """Have processes import ahead, so many at most."""
        while len(self._waiting) < (self._ahead if most is None else min(most, self._ahead)):
            with (self._scratch / "imports.log").open("a") as log:
                self._waiting.append(
                    subprocess.Popen(
                        [self._python, "-u", str(_WORKER)],
                        stdin=subprocess.PIPE,
                        stdout=log,
                        stderr=log,
                        text=True,
                        env=self._environment,
                        start_new_session=True,
                    )
                )

    def run(self, case: Case, timeout_s: float, *, following: int | None = None) -> dict[str, Any]:
        """Train a case; what it came to, with a status: ``ok``, ``oom``, ``failed`` or ``timeout``.

        Args:
            case: the case.
            timeout_s: when to end it; counted from here.
            following: cases that follow; None where that is unknown.
        """
        began_s = time.monotonic()
        self.prepare()
        worker = self._waiting.pop(0)
        result, log = self._scratch / f"{case.name}.json", self._scratch / f"{case.name}.log"
        result.unlink(missing_ok=True)
        order = {
            "name": case.name, "values": {**case.values, "output_dir": str(self._scratch / "output" / case.name)},
            "environment": dict(case.environment), "speed": case.speed, "limit_bytes": case.limit_bytes,
            "longest": case.longest, "result": str(result), "log": str(log),
        }  # fmt: skip
        assert worker.stdin is not None
        try:
            worker.stdin.write(json.dumps(order) + "\n")
            worker.stdin.close()
        except BrokenPipeError:
            pass
        self.prepare(following)
        try:
            worker.wait(timeout_s)
            status = "failed"
        except subprocess.TimeoutExpired:
            status = "timeout"
            end(worker)
        found: dict[str, Any] = {"name": case.name, "status": status, "updates": [], "losses": []}
        if result.exists():
            found = json.loads(result.read_text())
        elif log.exists():
            found["error"] = log.read_text(errors="replace")[-_LOG_CHARACTERS:]
        return {**found, **case.facts, "took_s": round(time.monotonic() - began_s, 2)}

    def close(self) -> None:
        """End whatever still waits."""
        for worker in self._waiting:
            end(worker)
        self._waiting = []


def end(worker: subprocess.Popen[str]) -> None:
    """Kill a process and what it started."""
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
