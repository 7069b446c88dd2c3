"""Tasks done by several processes, forked from one that knows them all; used by workers.

Threads that call numpy on tiles of a cache's size wait for the interpreter's lock: on two cores sixteen of them took
10.5 ns an element of a merge (tiles of 64 Ki), as many processes 4.8, and the more cores the worse. Forked processes
share nothing but open files, and start in milliseconds with numpy already imported.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

Report = dict[str, Any]
Work = Callable[[Iterator[int], Callable[[Report], None]], None]
"""Does the tasks whose numbers it is given, one after the other, and reports what the first process is to know."""
_NUMBER = struct.Struct("<I")
_LONGEST_MESSAGE = 1000  # a report has to go through a pipe in one piece, which holds for 4096 bytes


class TaskFailedError(Exception):
    """A process could not do its task; the message says why."""


def do_tasks(count: int, processes: int, work: Work, heard: Callable[[Report], None]) -> None:
    """Have tasks 0 to ``count`` - 1 done, each by the process that is free next; ends when all processes have.

    Only Linux forks after numpy without risk; elsewhere this process does them all.

    Args:
        count: how many tasks there are.
        processes: how many do them at a time.
        work: what each does; ends when its numbers end.
        heard: takes the reports, in this process. What it raises ends the work as a failure does.

    Raises:
        TaskFailedError: one failed, or a process was killed; the others then took no more tasks.
        OSError: no process could be started.
    """
    if sys.platform != "linux":
        work(iter(range(count)), heard)
        return
    with open(os.memfd_create("tasks"), "w+b", buffering=0) as numbers:  # noqa: PTH123 - a file without a name
        numbers.write(b"".join(map(_NUMBER.pack, range(count))))
        numbers.seek(0)
        group = _TaskProcesses(numbers.fileno(), work)
        try:
            group.start(processes)
            group.listen(heard)
        finally:
            numbers.truncate(0)  # nobody finds a number any more
            group.wait()
    if group.failures:
        raise TaskFailedError(group.failures[0])


class _TaskProcesses:
    """The processes. They read task numbers from one open file, whose position they share, and report into a pipe."""

    def __init__(self, numbers: int, work: Work) -> None:
        self._numbers, self._work = numbers, work
        self._listening, self._telling = os.pipe()
        self._children: list[int] = []
        self.failures: list[str] = []

    def start(self, processes: int) -> None:
        """Fork the processes that take tasks."""
        for _ in range(processes):
            child = os.fork()
            if child == 0:
                self._be_child()
            self._children.append(child)

    def listen(self, heard: Callable[[Report], None]) -> None:
        """Until every process has ended, or one failed: each closes its end of the pipe."""
        os.close(self._telling)
        self._telling = -1
        with open(self._listening, encoding="utf-8", closefd=False) as reports:
            for line in reports:
                report = json.loads(line)
                if "failure" in report:
                    self.failures.append(report["failure"])
                    return
                heard(report)

    def wait(self) -> None:
        """For the end of all; one that still reports finds nobody listening, and ends."""
        for descriptor in (self._listening, self._telling):
            if descriptor >= 0:
                os.close(descriptor)
        for child in self._children:
            _, status = os.waitpid(child, 0)
            if status and not self.failures:
                self.failures.append(_ending(os.waitstatus_to_exitcode(status)))

    def _be_child(self) -> None:
        """Work, and never return: what stands above on the stack is the first process's."""
        code = 1
        try:
            os.close(self._listening)
            self._work(self._take(), self._tell)
            code = 0
        except BrokenPipeError:  # the first process has gone, or given up
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the first process must hear of it
            self._tell({"failure": f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]})
        finally:
            os._exit(code)

    def _take(self) -> Iterator[int]:
        while packed := self._read_number():
            yield _NUMBER.unpack(packed)[0]

    def _read_number(self) -> bytes:
        """The next, which nobody else gets: to read from a memory file and to move its position are two steps."""
        fcntl.lockf(self._numbers, fcntl.LOCK_EX)
        try:
            return os.read(self._numbers, _NUMBER.size)
        finally:
            fcntl.lockf(self._numbers, fcntl.LOCK_UN)

    def _tell(self, report: Report) -> None:
        os.write(self._telling, json.dumps(report).encode() + b"\n")


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"a process ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"a process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
