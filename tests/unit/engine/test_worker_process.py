"""Workers as real children: what they say, how they fail, that nothing of them is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lfwrap.engine.environment import engine_environment
from lfwrap.engine.failure import FailureText
from lfwrap.engine.worker_process import WorkerProcess, run_worker
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


def test_a_child_that_says_why_before_it_reads_is_heard(start):
    body = "print(json.dumps({'event': 'error', 'message': 'OSError: bad model'}), flush=True)"
    with start(body) as worker:
        assert _is_gone(worker.pid)
        with pytest.raises(EngineError, match="OSError: bad model"):
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


@pytest.fixture
def python(tmp_path):
    """python(code): a program that stands in for the engine's Python, whatever worker it is asked for."""

    def make(code: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\nimport json, os, signal, sys, time\n{code}\n")
        path.chmod(0o755)
        return path

    return make


def _answer(python: Path, job=None, **settings):
    return run_worker(python, "encode", job, environment=ENVIRONMENT, **settings)


def test_one_job_gives_one_event_and_nothing_is_left(python):
    code = (
        "job = json.loads(sys.stdin.readline())\n"
        "print('a library says hello'); print([1]); print(json.dumps({'level': 'warning'}))\n"
        "answer = {'rows': job['rows'], 'pid': os.getpid(), 'arguments': sys.argv[-1]}\n"
        "print(json.dumps({'event': 'done', **answer}), flush=True)\n"
        "time.sleep(60)\n"
    )
    answer = _answer(python(code), {"rows": ["狗\u2028"]}, arguments=["last"], timeout_s=30)
    assert (answer["rows"], answer["arguments"]) == (["狗\u2028"], "last")
    assert _is_gone(answer["pid"])


def test_a_job_and_an_answer_may_be_long(python):
    code = "rows = json.loads(sys.stdin.readline())['rows']; print(json.dumps({'event': 'done', 'rows': rows + rows}))"
    assert len(_answer(python(code), {"rows": ["x" * 999] * 3000}, timeout_s=60)["rows"]) == 6000
    assert len(_answer(python(code), {"rows": ["x" * 999] * 3000})["rows"]) == 6000


@pytest.mark.parametrize(
    "code", ["time.sleep(60)", "print(json.dumps({'event': 'done'}), end='', flush=True); time.sleep(60)"]
)
def test_a_worker_that_takes_too_long_is_ended(python, code):
    started_s = time.monotonic()
    with pytest.raises(EngineError, match=r"The rows can't be read: no answer within 0\.5 s") as caught:
        _answer(python(code), timeout_s=0.5, text=FailureText("The rows can't be read", hint="Try again."))
    assert caught.value.hint == "Try again."
    assert time.monotonic() - started_s < 10


def test_a_worker_that_does_not_read_a_long_job_is_ended_in_time(python):
    with pytest.raises(EngineError, match="no answer within 0"):
        _answer(python("time.sleep(60)"), {"rows": "x" * 1_000_000}, timeout_s=0.5)


def test_a_worker_that_stops_reading_is_gone_though_it_lives(python, monkeypatch):
    monkeypatch.setattr(WorkerProcess.wait, "__defaults__", (0.2,))
    monkeypatch.setattr("lfwrap.engine.worker_process._GRACE_S", 0.2)
    with pytest.raises(EngineError, match="no longer answers"):
        _answer(python("os.close(0); time.sleep(60)"), {"rows": "x" * 1_000_000})


def test_what_is_said_of_a_failure_may_be_more_than_a_line(python):
    broken = python("print('one\\ntwo', file=sys.stderr); raise ValueError('three')")
    with pytest.raises(EngineError) as caught:
        _answer(broken, text=FailureText("The rows can't be read", log_lines=2))
    first, *rest = caught.value.message.splitlines()
    assert (first, len(rest), rest[-1]) == ("The rows can't be read:", 2, "ValueError: three")


def test_a_log_that_stays_is_appended_to(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    with WorkerProcess(
        Path(sys.executable), "no-such-worker", environment=ENVIRONMENT, cwd=tmp_path, log=log
    ) as worker:
        with pytest.raises(EngineError):
            worker.receive()
        assert worker.has_ended
    assert log.read_text().startswith("before\n")
    assert len(log.read_text()) > len("before\n")


def test_a_log_is_read_while_the_worker_writes_it(start):
    code = "print('x' * 9, file=sys.stderr, flush=True)\nprint('{\"event\": 1}', flush=True)\n"
    with start(code * 3 + "time.sleep(60)\n") as worker:
        for _ in range(3):
            worker.receive()
            worker.log()
        assert worker.log() == ("x" * 9 + "\n") * 3
