"""Where every process of a run stands at this moment: state, CPU time and Python stacks, as one text.

The training processes write their stacks themselves on SIGUSR2 (``lfwrap_worker/train/rank_files.py``), which needs no
rights. What does not answer, such as a stopped process, is asked by py-spy where that is installed (``lfwrap[stacks]``)
and allowed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lfwrap.engine.child_process import training_ranks
from lfwrap.masking import mask_override
from lfwrap.run.folder.paths import AttemptPaths

if TYPE_CHECKING:
    import psutil

_ANSWER_S = 2.0
_POLL_S = 0.05
_PY_SPY_S = 20


def describe_processes(processes: Iterable[psutil.Process], attempt: AttemptPaths) -> str:
    """A section for each process of a run: the ranks, their loaders, the launcher; takes up to seconds for each.

    Args:
        processes: every process of the run.
        attempt: the attempt whose ranks write their stacks.
    """
    found = sorted(processes, key=lambda process: process.pid)
    ranks = {process.pid for process in training_ranks(found)}
    return "\n".join(_describe(process, attempt, is_rank=process.pid in ranks) for process in found)


def _describe(process: psutil.Process, attempt: AttemptPaths, *, is_rank: bool) -> str:
    import psutil

    try:
        number = int(process.environ().get("RANK", "0"))
        times = process.cpu_times()
        what = f"rank {number}" if is_rank else "process"
        state = f"{what} pid={process.pid} state={process.status()} cpu={times.user + times.system:.1f}s"
        command = " ".join(map(mask_override, process.cmdline()))
    except (psutil.Error, OSError, ValueError) as error:
        return f"== pid={process.pid}: {error}\n"
    stacks = _own_stacks(process.pid, attempt.rank(number).stacks) or _py_spy_stacks(process.pid)
    return f"== {state}\n{command}\n{stacks or '(no stack: the process does not answer, and py-spy is not there)'}\n"


def _own_stacks(pid: int, answers: Path) -> str:
    """What the process writes on SIGUSR2; nothing is sent to one that would die of it."""
    if not _catches(pid, signal.SIGUSR2) or not answers.is_file():
        return ""
    before = answers.stat().st_size
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGUSR2)
    text, deadline = "", time.monotonic() + _ANSWER_S
    while time.monotonic() < deadline:
        time.sleep(_POLL_S)
        with answers.open("rb") as source:
            source.seek(before)
            now = source.read().decode("utf-8", errors="replace")
        if now and now == text:
            break
        text = now
    return text


def _catches(pid: int, number: int) -> bool:
    """Whether a process handles this signal, by ``/proc``; False where there is none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    except (OSError, StopIteration, IndexError):
        return False
    return bool(int(mask, 16) >> (number - 1) & 1)


def _py_spy_stacks(pid: int) -> str:
    py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if py_spy is None:
        return ""
    try:
        done = subprocess.run(
            [py_spy, "dump", "--nonblocking", "--pid", str(pid)],
            capture_output=True,
            text=True,
            timeout=_PY_SPY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"(py-spy: {error})"
    return done.stdout if done.returncode == 0 else f"(py-spy: {done.stderr.strip()})"
