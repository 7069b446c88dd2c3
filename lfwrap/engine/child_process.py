"""The mechanics of children: start them, signal them, find every process that came of a training, end them all.

A training has a session of its own, so that a terminal's ^C reaches lfwrap alone. stderr goes straight into its file,
stdout through the workers' ``log_filter.py``, also a process of its own. Neither needs lfwrap to be alive: when it is
killed, the kernel sends the engine a SIGTERM (Linux), and the engine can still write its checkpoint and its last lines.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lfwrap import debug
from lfwrap.engine.arguments import LOG_FILTER
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.engine.failure import ending, start_failure
from lfwrap.masking import mask_arguments

if TYPE_CHECKING:
    import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05
_GRACE_S = 3.0
_TAIL_BYTES = 16_384

Stream = int | IO[Any] | None
"""Where a stream of a child leads: a file, its descriptor, or one of `subprocess`'s constants."""


def _prctl() -> Callable[[int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None
    return lambda option, value: int(prctl(option, value, 0, 0, 0))


def become_subreaper() -> bool:
    """Adopt orphaned descendants instead of losing them to init (Linux); says whether that worked."""
    prctl = _prctl()
    return prctl is not None and prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0


def _die_with_parent() -> Callable[[], None] | None:
    prctl = _prctl()
    if prctl is None:
        return None
    parent = os.getpid()

    def bind() -> None:
        # Between fork and exec: only the system call, the library is loaded already.
        """Let the kernel end this process when its parent dies."""
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def start_process(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    dies_with_us: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a child that leads a session, and so a process group, of its own; its pipes have no buffer.

    Args:
        argv: program and arguments.
        environment: its whole environment.
        cwd: its working directory; None is ours.
        stdin: where it reads from.
        stdout: where it writes to.
        stderr: where its messages go.
        dies_with_us: the kernel sends it a SIGTERM when this process is killed (Linux).

    Raises:
        PreflightError: it can't be started.
    """
    argv = list(argv)
    try:
        process = subprocess.Popen(
            argv,
            bufsize=0,
            cwd=cwd,
            env=dict(environment),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_die_with_parent() if dies_with_us else None,  # noqa: PLW1509 - lfwrap starts no threads
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise start_failure(argv[0], error) from error
    note_start(argv, environment, cwd, process.pid)
    return process


def note_start(argv: Sequence[str], environment: Mapping[str, str], cwd: Path | None, pid: int | None = None) -> None:
    """For --debug: what is started, and how its environment differs from ours."""
    if debug.is_shown("engine"):
        started = f"{pid} starts" if pid else "starts"
        debug.note("engine", "%s: %s", started, shlex.join(mask_arguments(argv)))
        debug.note("engine", "%s in %s with %s", pid or "it", cwd or Path.cwd(),
                   " ".join(debug.environment_difference(environment)) or "our environment")  # fmt: skip


def note_end(pid: int | None, exit_code: int | None, seconds: float) -> None:
    """For --debug: how a child ended, and after how long."""
    debug.note("engine", "%s %s after %.2f s", pid or "it", ending(exit_code), seconds)


def end_of_log(log: IO[bytes]) -> str:
    """The end of what a child wrote into a file that it shares with us, read without moving its place there."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")


def end_group(process: subprocess.Popen[Any]) -> None:
    """End a child that leads a process group, and everything in it: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            if number is signal.SIGKILL or not _group_lives(process.pid):
                return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Child:
    """The engine's first process and the process that writes its stdout down.

    Attributes:
        engine: the process that was started.
        log_filter: copies stdout into its file; ends by itself when all writers have closed the pipe.
        marker: the value of `RUN_VARIABLE` in the environment of every process of the run.
        started_s: `time.monotonic` at the start.
    """

    engine: subprocess.Popen[bytes]
    log_filter: subprocess.Popen[bytes]
    marker: str
    started_s: float

    @property
    def pid(self) -> int:
        """The engine's first process."""
        return self.engine.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self.engine.poll()

    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_s

    def processes(self) -> list[psutil.Process]:
        """Every living process of the run, the log filter left out."""
        return run_processes(self.marker, but=(os.getpid(), self.log_filter.pid))

    def close(self, grace_s: float = 5.0) -> None:
        """Wait until the log is written down; a filter that a stranger keeps open is ended."""
        note_end(self.pid, self.poll(), self.age_s())
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.log_filter.wait(grace_s)
            return
        self.log_filter.kill()
        self.log_filter.wait()


def start_child(
    argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str], stdout: Path, stderr: Path, show_example: bool
) -> Child:
    """Start the engine with its output going to files.

    Args:
        argv: the command.
        cwd: its working directory.
        environment: its whole environment; must hold `RUN_VARIABLE`.
        stdout: file that stdout is appended to.
        stderr: file that stderr is appended to.
        show_example: keep the printed training example in ``stdout``.

    Raises:
        PreflightError: the command can't be started.
    """
    options = ["--show-example"] if show_example else []
    reader, writer = os.pipe()
    try:
        log_filter = start_process(
            [sys.executable, "-I", "-S", str(LOG_FILTER), str(stdout), *options],
            environment=os.environ,
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with stderr.open("ab") as errors:
            engine = start_process(
                argv, environment=environment, cwd=cwd, stdout=writer, stderr=errors, dies_with_us=True
            )
    finally:
        os.close(reader)
        os.close(writer)
    return Child(engine, log_filter, environment[RUN_VARIABLE], time.monotonic())


def run_processes(marker: str, *, but: Iterable[int] = ()) -> list[psutil.Process]:
    """Every living process whose environment carries this run's marker, wherever it hangs in the process tree."""
    import psutil

    left_out = set(but)
    found = []
    for process in psutil.process_iter():
        if process.pid in left_out:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(RUN_VARIABLE) == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def training_ranks(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The processes that train: those with a ``LOCAL_RANK`` whose parent has none; empty for a single process.

    Loader workers inherit the variable, launchers do not have it.
    """
    ranked = {process.pid: process for process in processes if _has_rank(process)}
    return [process for process in ranked.values() if _parent_pid(process) not in ranked]


def _has_rank(process: psutil.Process) -> bool:
    import psutil

    try:
        return "LOCAL_RANK" in process.environ()
    except (psutil.Error, OSError):
        return False


def _parent_pid(process: psutil.Process) -> int:
    import psutil

    try:
        return process.ppid()
    except psutil.Error:
        return 0


def send(processes: Iterable[psutil.Process], number: int) -> None:
    """Send a signal to each process that still lives."""
    import psutil

    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(number)


def sweep(child: Child, *, grace_s: float = 3.0) -> tuple[int, ...]:
    """End every process of the run that is left: SIGTERM, then SIGKILL. Returns the pids that had been left."""
    left = child.processes()
    pids = tuple(process.pid for process in left)
    send(left, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while left:
        time.sleep(_POLL_S)
        child.poll()
        _reap(pids, but=child.pid)
        left = child.processes()
        if time.monotonic() > deadline:
            send(left, signal.SIGKILL)
    return pids


def _reap(pids: Iterable[int], *, but: int) -> None:
    """Collect adopted descendants that have ended, so that they do not stay as zombies."""
    for pid in pids:
        if pid != but:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
