"""Tasks spread over forked processes: each is done once, and no failure is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from lfwrap_worker.export.task_processes import TaskFailedError, do_tasks
from lfwrap_worker.start import FOLDER

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


def _squares(numbers, tell):
    for number in numbers:
        tell({"number": number, "square": number * number, "process": os.getpid()})
        time.sleep(0.001)


def _children() -> set[int]:
    """This process's, those that have ended and were not waited for included."""
    return {child.pid for child in psutil.Process().children()}


@pytest.fixture(autouse=True)
def none_is_left():
    """Whatever becomes of the work, its processes have ended; those of other tests are not its business."""
    before = _children()
    yield
    assert _children() <= before


@pytest.mark.parametrize(("count", "processes"), [(0, 1), (1, 1), (1, 4), (300, 1), (300, 3), (20_000, 2)])
def test_every_task_is_done_once(count, processes):
    heard = []
    work = _squares if count < 1000 else lambda numbers, tell: [tell({"number": n, "square": n * n}) for n in numbers]
    do_tasks(count, processes, work, heard.append)
    assert sorted((report["number"], report["square"]) for report in heard) == [(n, n * n) for n in range(count)]


@linux
def test_the_work_is_shared():
    heard = []
    do_tasks(200, 3, _squares, heard.append)
    assert len({report["process"] for report in heard}) == 3
    assert os.getpid() not in {report["process"] for report in heard}


@linux
@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: 1 // 0, "ZeroDivisionError"),
        (lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")), r"OSError: \[Errno 28\] No space left"),
        (lambda: (_ for _ in ()).throw(ValueError("x" * 9000)), "ValueError: xxx"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"a process was ended by SIGKILL \(out of memory\?\)"),
        (lambda: os._exit(3), "a process ended with exit code 3"),
    ],
)
def test_a_failure_is_told_and_ends_the_work(end, message):
    def work(numbers, tell):
        for number in numbers:
            if number == 5:
                end()
            tell({"number": number})
            time.sleep(0.01)

    heard = []
    with pytest.raises(TaskFailedError, match=message):
        do_tasks(100, 2, work, heard.append)
    assert 5 not in {report["number"] for report in heard}


@linux
def test_a_listener_that_fails_ends_the_work():
    def hear(report):
        if report["number"] > 3:
            raise OSError(5, "the disk failed")

    with pytest.raises(OSError, match="the disk failed"):
        do_tasks(10_000, 2, _squares, hear)


ENDLESS = """
import time
from lfwrap_worker.export.task_processes import do_tasks
def work(numbers, tell):
    for number in numbers:
        time.sleep(0.02)
        tell({"number": number})
do_tasks(10**6, 3, work, lambda report: print("works", flush=True))
"""


@linux
def test_the_processes_end_with_the_first_one():
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(FOLDER)},
    ) as first:
        assert first.stdout.readline() == b"works\n"
        children = psutil.Process(first.pid).children()
        first.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert (len(children), alive) == (3, [])
