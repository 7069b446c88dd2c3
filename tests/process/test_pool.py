"""A pool of real processes: results in order, errors as they were, no process left and none waited for in vain."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from lfwrap.data.workers.pool import Pool, calls_in_hand
from lfwrap.errors import PreflightError

METHODS = ["fork", "spawn"]


def nothing() -> None:
    """No setup."""


def slowest_first(number: int) -> tuple[int, int]:
    time.sleep(0.02 if number % 4 == 0 else 0)
    return number, os.getpid()


def repeated(text: bytes) -> bytes:
    return text * 2


def divided(number: int) -> float:
    return 1 / number


def killed(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def ignored_interrupt(number: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return number


@pytest.mark.parametrize("method", METHODS)
def test_results_come_in_order_from_several_processes(method: str) -> None:
    with Pool(3, nothing, method) as pool:
        results = list(pool.ordered(slowest_first, range(40)))
    assert [number for number, _ in results] == list(range(40))
    assert len({pid for _, pid in results}) > 1
    assert os.getpid() not in {pid for _, pid in results}
    for pid in {pid for _, pid in results}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_more_is_taken_than_there_is_room_for() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    with Pool(2, nothing, "fork") as pool:
        for done, (number, _) in enumerate(pool.ordered(slowest_first, numbers())):
            assert number == done
            assert len(taken) - done <= calls_in_hand(2)


def test_messages_larger_than_a_pipe_do_not_block() -> None:
    texts = [bytes([65 + n]) * (1 << 20) for n in range(8)]
    with Pool(2, nothing, "fork") as pool:
        assert list(pool.ordered(repeated, texts)) == [text * 2 for text in texts]


@pytest.mark.parametrize("method", METHODS)
def test_an_error_is_raised_in_its_place_and_the_pool_goes_on(method: str) -> None:
    with Pool(2, nothing, method) as pool:
        results = pool.ordered(divided, [2, 4, 0, 5])
        assert [next(results), next(results)] == [0.5, 0.25]
        with pytest.raises(ZeroDivisionError) as raised:
            next(results)
        assert "in divided" in raised.value.__notes__[0]
        assert list(pool.ordered(divided, [1, 2])) == [1, 0.5]


def test_a_caller_that_stops_early_may_start_again() -> None:
    with Pool(2, nothing, "fork") as pool:
        for number, _ in pool.ordered(slowest_first, range(100)):
            if number == 3:
                break
        assert [number for number, _ in pool.ordered(slowest_first, range(200, 210))] == list(range(200, 210))


def test_a_killed_process_is_said() -> None:
    with (
        pytest.raises(PreflightError, match="a worker process was killed") as raised,
        Pool(2, nothing, "fork") as pool,
    ):
        list(pool.ordered(killed, range(20)))
    assert raised.value.hint == "Try again with --jobs 1."


def test_processes_leave_interrupts_to_their_parent() -> None:
    with Pool(2, nothing, "fork") as pool:
        assert list(pool.ordered(ignored_interrupt, range(5))) == list(range(5))


def test_dismissed_processes_end_while_the_caller_goes_on() -> None:
    with Pool(2, nothing, "fork") as pool:
        pids = {pid for _, pid in pool.ordered(slowest_first, range(20))}
        pool.dismiss()
        deadline = time.monotonic() + 5
        while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


INTERRUPTED = """
    import os, signal, sys, time
    from lfwrap.data.workers.pool import Pool
    def setup(): pass
    def wait(number):
        time.sleep(0.05)
        return os.getpid()
    def give_up(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, give_up)
    seen = set()
    try:
        with Pool(2, setup, "fork") as pool:
            signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
            for pid in pool.ordered(wait, range(1000)):
                seen.add(pid)
    except KeyboardInterrupt:
        for pid in seen:
            try:
                os.kill(pid, 0)
                sys.exit(f"{pid} is left")
            except ProcessLookupError:
                pass
        sys.exit(130)
"""


@pytest.mark.parametrize("after_s", ["0.01", "0.12", "0.3"])
def test_an_interrupt_at_any_time_leaves_no_process(after_s: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), after_s]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 130, done.stderr
