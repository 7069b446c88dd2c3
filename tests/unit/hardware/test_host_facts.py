"""Whether other programs use the cores."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from lfwrap.hardware import host_facts


def test_a_busy_program_is_seen() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
    ) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            assert host_facts.has_busy_neighbours(look_s=1.0)
        finally:
            busy.kill()


def test_an_idle_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = psutil.cpu_times()
    monkeypatch.setattr(psutil, "cpu_times", lambda: quiet)
    assert not host_facts.has_busy_neighbours(look_s=0.0)
