"""The process that writes the engine's log outlives the signals of a scheduler, which reach every process of a job."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lfwrap.engine.arguments import LOG_FILTER


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_lines_after_a_signal_are_written_and_the_filter_ends_with_its_pipe(tmp_path: Path, number: int) -> None:
    log = tmp_path / "stdout.log"
    command = [sys.executable, "-I", "-S", str(LOG_FILTER), str(log)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(b"before\n")
        writer.stdin.flush()
        deadline = time.monotonic() + 10
        while not (log.exists() and log.read_bytes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.send_signal(number)
        writer.stdin.write(b"after\n")
        writer.stdin.close()
        assert writer.wait(10) == 0
    assert log.read_bytes() == b"before\nafter\n"
