"""Workers as real children: what they say, how they fail, that nothing of them is left."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lfwrap.engine.environment import engine_environment
from lfwrap.engine.worker_process import WorkerProcess, ending
from lfwrap.errors import EngineError, PreflightError

ENVIRONMENT = engine_environment(model_is_local=True)


@pytest.fixture
def start(fake_worker: Callable[[str, str], Path]) -> Callable[[str], WorkerProcess]:
    """start(body): a worker that runs this code."""

    def make(body: str) -> WorkerProcess:
        fake_worker("answer", "import json, os, signal, subprocess, sys, time\n" + body)
        return WorkerProcess(Path(sys.executable), "answer", environment=ENVIRONMENT)

    return make


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


ECHO = "for line in sys.stdin: print(json.dumps({'event': 'echo', 'got': json.loads(line)}), flush=True)\n"


def test_requests_and_events_are_json_lines(start):
    with start(ECHO) as worker:
        worker.send({"text": "狗\u2028"})
        assert worker.receive()["got"] == {"text": "狗\u2028"}
    assert _is_gone(worker.pid)


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("raise ValueError('no such thing')", r"exit code 1: ValueError: no such thing", "lfwrap doctor"),
        ("print('just a word', file=sys.stderr); sys.exit(3)", r"exit code 3: just a word", "lfwrap doctor"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"SIGKILL", "memory"),
        ("raise RuntimeError('CUDA out of memory. Tried')", r"CUDA out of memory", "quantization_bit"),
        ("print(json.dumps({'event': 'error', 'message': 'OSError: bad model'}))", r"OSError: bad model", "doctor"),
    ],
)
def test_a_failure_says_its_last_line(start, body, message, hint):
    with start(body) as worker, pytest.raises(EngineError, match=message) as caught:
        worker.receive()
    assert hint in caught.value.message + caught.value.hint


def test_a_request_to_a_dead_child_is_an_engine_error(start):
    with start("sys.exit('gone')") as worker:
        assert _is_gone(worker.pid)
        with pytest.raises(EngineError, match="gone"):
            worker.send({"text": "x" * 1_000_000})


def test_a_child_that_ignores_signals_is_ended_with_its_children(start):
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'])\n"
        "print(json.dumps({'event': 'up', 'child': child.pid}), flush=True)\n"
        "time.sleep(60)\n"
    )
    with start(body) as worker:
        grandchild = worker.receive()["child"]
    assert _is_gone(worker.pid)
    assert _is_gone(grandchild)


def test_interrupt_sends_sigint_to_the_worker(start):
    body = (
        "signal.signal(signal.SIGINT, lambda *_: print(json.dumps({'event': 'stopped'}), flush=True))\n"
        "print(json.dumps({'event': 'up'}), flush=True)\n" + ECHO
    )
    with start(body) as worker:
        worker.receive()
        worker.interrupt()
        assert worker.receive() == {"event": "stopped"}


def test_a_python_that_is_not_there(tmp_path):
    with pytest.raises(PreflightError, match="can't be started"):
        WorkerProcess(tmp_path / "python", "answer", environment=ENVIRONMENT)


def test_endings_in_words():
    assert ending(2) == "ended with exit code 2"
    assert ending(-signal.SIGKILL) == "was ended by SIGKILL (out of memory?)"
